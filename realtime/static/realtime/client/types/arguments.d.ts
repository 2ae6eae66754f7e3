/** @typedef {string | string[] | Set<string>} Names */
/** @template T @param {T} value @param {string} name */
export function optionalFunction<T>(value: T, name: string): T;
/** Where streams stand, as the server writes it: `since`, `streams`.
 * @param {unknown} value @returns {[string, import("./messages.js").Position][]} */
export function positionsOf(value: unknown): [string, import("./messages.js").Position][];
/** The server does not tell upper from lower case either. @param {unknown} value */
export function symbolsOf(value: unknown): string[];
/** An array of strings; a single string is one of them, not a list of its letters.
 * @param {any} value @param {string} name @returns {string[]} */
export function listOf(value: any, name: string): string[];
export type Names = string | string[] | Set<string>;
