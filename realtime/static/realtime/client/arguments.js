// What a user may give; anything else throws TypeError, which names it.

/** @typedef {string | string[] | Set<string>} Names */

/** @template T @param {T} value @param {string} name */
export function optionalFunction(value, name) {
  if (value !== undefined && typeof value !== "function") {
    throw new TypeError(`${name}: give a function or class.`);
  }
  return value;
}

/** The server does not tell upper from lower case either. @param {unknown} value */
export function symbolsOf(value) {
  return listOf(value, "symbols").map((symbol) => symbol.trim().toUpperCase());
}

/** An array of strings; a single string is one of them, not a list of its letters.
 * @param {unknown} value @param {string} name @returns {string[]} */
export function listOf(value, name) {
  const list = typeof value === "string" ? [value] : value;
  if (!Array.isArray(list) && !(list instanceof Set)) {
    throw new TypeError(`${name}: give a string or an array of strings.`);
  }
  for (const item of list) {
    if (typeof item !== "string") throw new TypeError(`${name}: ${String(item)} is not a string.`);
  }
  return [...list];
}
