// The section in which a rule is made or changed.

import { newRow, conditionsOf } from "./rule-conditions.js";
import { readDestinations } from "./rule-destinations.js";
import { RuleForm } from "./rule-form.js";

const ON_CHART = "The firings of a dry run are marked on the chart of their symbol, if that is open.";

// Of a new rule: a price that swings around its value is not an alert a second.
const COOLDOWN_SECONDS = 300;

export class RuleEditor {
  #element;
  #rest;
  #watched; // function: the symbols of the page
  #form;
  #id = null; // of a rule that exists
  #opener = null; // what had the focus

  /** `saved(rule)` is told of a rule as the server has it. */
  constructor(element, { rest, credential, symbols }, { saved }) {
    this.#element = element;
    this.#rest = rest;
    this.#watched = symbols;
    this.#form = new RuleForm({
      preview: (rule) => rest.post("alert-rules/preview", { ...rule, for_symbol: this.#example(rule) }),
      dryRun: (rule, past) => rest.post("alert-rules/dry-run", { ...rule, past }),
      destinations: () => readDestinations({ rest, credential }),
    });
    this.#part("[data-form]").append(this.#form.element);
    this.#part("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save(saved);
    });
    for (const button of element.querySelectorAll("[data-cancel]")) {
      button.addEventListener("click", () => this.close());
    }
  }

  /** `note`: what is said to those who have no rules, instead of the form. */
  create({ symbol, price, isUser, note }) {
    const title = symbol ? `Alert me about ${symbol}` : "New alert rule";
    const conditions = conditionsOf([newRow("crosses_above", price)]);
    const rule = { symbols: symbol ? [symbol] : [], conditions, cooldown: COOLDOWN_SECONDS };
    if (isUser) this.#open(title, null, rule);
    else this.#say(title, note.cloneNode(true).childNodes);
  }

  edit(rule) {
    this.#open(`Change “${rule.name}”`, rule.id, rule);
  }

  close() {
    if (this.#element.hidden) return;
    this.#element.hidden = true;
    this.#opener?.focus();
  }

  #open(title, id, rule) {
    this.#id = id;
    this.#form.show(rule);
    this.#say(title, [ON_CHART], { hidden: false });
  }

  #say(title, note, { hidden = true } = {}) {
    if (this.#element.hidden) this.#opener = document.activeElement;
    this.#element.hidden = false;
    this.#part("form").hidden = hidden;
    this.#part("[data-editor-note]").replaceChildren(...note);
    this.#part("h2").textContent = title;
    this.#part("h2").focus();
    this.#element.scrollIntoView({ block: "nearest" });
  }

  async #save(saved) {
    const button = this.#part("[type=submit]");
    button.disabled = true;
    this.#form.clearProblems();
    try {
      const { rule } = this.#form;
      const answer = this.#id === null
        ? await this.#rest.post("alert-rules", rule)
        : await this.#rest.put(`alert-rules/${this.#id}`, rule);
      this.close();
      saved(answer);
    } catch (error) {
      this.#form.showError(error);
    }
    button.disabled = false;
  }

  /** A rule on every symbol is shown with the first one of the page. */
  #example({ symbols }) {
    const every = symbols.includes("*");
    return every ? this.#watched()[0] : undefined;
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }
}
