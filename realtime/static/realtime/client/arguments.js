// What a user may give; anything else throws TypeError, which names it.

/** @typedef {string | string[] | Set<string>} Names */

/** @template T @param {T} value @param {string} name */
export function optionalFunction(value, name) {
  if (value !== undefined && typeof value !== "function") {
    throw new TypeError(`${name}: give a function or class.`);
  }
  return value;
}

/** Where streams stand, as the server writes it: `since`, `streams`.
 * @param {unknown} value @returns {[string, import("./messages.js").Position][]} */
export function positionsOf(value) {
  const entries = Object.entries(typeof value === "object" ? (value ?? {}) : { streams: value });
  for (const [name, at] of entries) {
    if (typeof at?.epoch !== "string" || !Number.isInteger(at.offset)) {
      throw new TypeError(`since: give ${name} as { epoch, offset }.`);
    }
  }
  return entries;
}

/** The server does not tell upper from lower case either. @param {unknown} value */
export function symbolsOf(value) {
  return listOf(value, "symbols").map((symbol) => symbol.trim().toUpperCase());
}

/** An array of strings; a single string is one of them, not a list of its letters.
 * @param {any} value @param {string} name @returns {string[]} */
export function listOf(value, name) {
  const list = typeof value === "string" || !value?.[Symbol.iterator] ? [value] : [...value];
  for (const item of list) {
    if (typeof item !== "string") {
      throw new TypeError(`${name}: give a string or an array of strings, not ${item}.`);
    }
  }
  return list;
}
