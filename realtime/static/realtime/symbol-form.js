// The form that adds a symbol.

import * as format from "./format.js";
import { parseSymbol } from "./symbols.js";

export class SymbolForm {
  #form;
  #input;
  #add;

  /** `add(symbol)` throws what is wrong, or rejects with it. */
  constructor(form, add) {
    this.#form = form;
    this.#input = form.querySelector("input");
    this.#add = add;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  focus() {
    this.#input.focus();
  }

  async #submit() {
    this.show();
    try {
      await this.#add(parseSymbol(this.#input.value));
      this.#input.value = "";
    } catch (error) {
      this.show(error);
    }
  }

  /** What is wrong with the symbol; without an error, nothing. */
  show(error) {
    const text = format.sentence(error?.message ?? "");
    this.#form.querySelector(".problem").textContent = text;
    this.#input.toggleAttribute("aria-invalid", error !== undefined);
  }
}
