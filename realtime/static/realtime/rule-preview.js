// The message of a rule: what it would say now, and buttons for the fields that it may contain.

import { make } from "./dom.js";
import { problemOf } from "./rule-values.js";

const PAUSE_MS = 300; // after the last key, before the server is asked
const FIELDS = [
  "symbol", "price", "value", "condition", "rule", "severity", "time", "volume", "move",
  "confidence", "predicted_price", "predicted_return",
];

export class RulePreview {
  #element;
  #ask;
  #timer = null;
  #asked = 0;

  /** `ask()` resolves with a preview, see POST alert-rules/preview, or gives null for a rule that is not
   * complete yet; `inserted(message)` is told of a
   * message that a button has changed. */
  constructor(element, { ask, inserted }) {
    this.#element = element;
    this.#ask = ask;
    const tokens = FIELDS.map((name) => {
      const text = `{${name}}`;
      const insert = () => inserted(this.#insert(text));
      return make("button", { type: "button", class: "small", text, on: { click: insert } });
    });
    element.querySelector("[data-tokens]").append(...tokens);
  }

  /** Ask a moment after the last edit. */
  ask() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#show(), PAUSE_MS);
  }

  async #show() {
    const asked = ++this.#asked;
    const text = await this.#text();
    if (asked !== this.#asked) return; // a newer one is on its way
    this.#element.querySelector("[data-preview]").textContent = text;
  }

  async #text() {
    try {
      return (await this.#ask())?.message ?? "–";
    } catch (error) {
      return problemOf(error.message);
    }
  }

  /** Put a field at the cursor; an empty message begins with its default. */
  #insert(field) {
    const input = this.#element.querySelector("textarea");
    if (input.value === "") input.value = `${input.placeholder} `;
    const isUsed = document.activeElement === input || input.selectionStart > 0;
    if (!isUsed) input.setSelectionRange(input.value.length, input.value.length);
    input.setRangeText(field, input.selectionStart, input.selectionEnd, "end");
    input.focus();
    return input.value;
  }
}
