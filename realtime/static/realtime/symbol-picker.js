// What the server has streams of, offered while somebody enters a symbol.

import { make } from "./dom.js";

const MOST = 1000; // in one answer
const FRESH_MS = 30_000;
const PAUSE_MS = 250; // between two keys of somebody who types

export class SymbolPicker {
  #input;
  #choices;
  #rest;
  #isHere;
  #read = null; // { search, whole, at }: what the choices are of
  #timer;

  /** `input`: with a datalist; `isHere(symbol)`: is it on the page already? */
  constructor(input, { rest, isHere }) {
    this.#input = input;
    this.#choices = input.list;
    this.#rest = rest;
    this.#isHere = isHere;
    input.addEventListener("focus", () => this.#offer());
    input.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#offer(), PAUSE_MS);
    });
  }

  /** Another user may read other streams. */
  userChanged() {
    this.#read = null;
    this.#choices.replaceChildren();
  }

  async #offer() {
    const search = this.#input.value.trim();
    if (this.#has(search)) return;
    const read = (this.#read = { search, whole: false, at: performance.now() });
    try {
      const query = { limit: MOST, search: search || undefined };
      const { streams, next } = await this.#rest.get("streams", query);
      if (this.#read !== read) return;
      read.whole = next === null;
      this.#show(streams);
    } catch {
      // Any symbol can be entered without a choice, too.
    }
  }

  /** Do the choices hold what is looked for? The browser picks from them. */
  #has(search) {
    if (this.#read === null || performance.now() - this.#read.at > FRESH_MS) return false;
    return search === this.#read.search || (this.#read.whole && search.includes(this.#read.search));
  }

  #show(streams) {
    const symbols = streams.filter(({ channel }) => channel !== "alerts").map(({ symbol }) => symbol);
    const others = [...new Set(symbols)].filter((symbol) => !this.#isHere(symbol)).sort();
    this.#choices.replaceChildren(...others.map((value) => make("option", { value })));
  }
}
