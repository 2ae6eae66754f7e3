// The symbols of this page, which stay: in its address if that names some, else in this browser.

import { keep, kept, nameInAddress } from "./page-choice.js";
import { parseSymbol } from "./symbols.js";

const NAME = "symbols"; // of the parameter, and of what the browser keeps
const MOST = 200; // what one socket may hold, unless the server says otherwise

/** `?symbols=AAPL,MSFT`, else the symbols of the last visit, else `usual`. */
export function savedSymbols(usual) {
  const named = new URLSearchParams(location.search).get(NAME);
  return symbolsIn(named ?? kept(NAME) ?? usual);
}

export function saveSymbols(symbols) {
  keep(NAME, symbols.join());
  if (new URLSearchParams(location.search).has(NAME)) nameInAddress(NAME, symbols.join());
}

/** The symbols in a text, each once; other words are left out. */
export function symbolsIn(text) {
  const found = new Set();
  for (const word of text.split(/[\s,]+/).filter(Boolean)) {
    try {
      found.add(parseSymbol(word));
    } catch {
      // somebody wrote this address by hand
    }
  }
  return [...found].slice(0, MOST);
}
