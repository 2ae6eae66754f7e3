// The symbols of this page, which stay: in its address if that names some, else in this browser.

import { parseSymbol } from "./symbols.js";

const KEY = "ara-realtime-symbols";
const PARAMETER = "symbols";
const MOST = 200; // what one socket may hold, unless the server says otherwise

/** `?symbols=AAPL,MSFT`, else the symbols of the last visit, else `usual`. */
export function savedSymbols(usual) {
  const named = new URLSearchParams(location.search).get(PARAMETER);
  return symbolsIn(named ?? stored() ?? usual);
}

export function saveSymbols(symbols) {
  try {
    localStorage.setItem(KEY, symbols.join());
  } catch {
    // This browser stores nothing for pages.
  }
  const address = new URL(location.href);
  if (!address.searchParams.has(PARAMETER)) return;
  address.searchParams.set(PARAMETER, symbols.join());
  history.replaceState(history.state, "", address);
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

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
