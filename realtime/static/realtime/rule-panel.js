// The alert rules of the user: listed, paused, deleted, and opened in the form.

import { fromTemplate } from "./dom.js";
import * as format from "./format.js";
import { RuleEditor } from "./rule-editor.js";

export class RulePanel {
  #element;
  #page;
  #editor;
  #note;
  #rules = new Map(); // id -> rule
  #isUser = false;
  #loads = 0;

  /** `page`: see dashboard.js; `editor`: the section with the form. */
  constructor(element, editor, page) {
    this.#element = element;
    this.#page = page;
    this.#note = this.#part("[data-rules-note]");
    this.#editor = new RuleEditor(editor, page, { saved: (rule) => this.#saved(rule) });
    this.#part("[data-new-rule]").addEventListener("click", () => this.create());
    page.alerts.addEventListener("connected", ({ detail }) => this.#load(detail.authenticated));
    page.alerts.addEventListener("alert", ({ detail }) => this.#fired(detail));
  }

  userChanged() {
    this.#editor.close();
    this.#load(false);
  }

  /** Open the form, perhaps for a symbol at its price. */
  create({ symbol, price } = {}) {
    this.#editor.create({ symbol, price, isUser: this.#isUser, note: this.#note });
  }

  async #load(isUser) {
    const load = ++this.#loads;
    this.#isUser = isUser;
    this.#explain("");
    this.#rules.clear();
    try {
      const rules = isUser ? await this.#page.rest.all("alert-rules") : [];
      if (load !== this.#loads) return;
      for (const rule of rules) this.#rules.set(rule.id, rule);
    } catch (error) {
      if (load !== this.#loads) return;
      this.#isUser = error.status !== 403; // a credential that has no rules
      this.#explain(error.message);
    }
    this.#draw();
  }

  #saved(rule) {
    this.#rules.set(rule.id, rule);
    this.#draw();
    this.#page.announce(`The rule is saved: ${rule.name}.`);
  }

  #fired({ data, timestamp }) {
    const rule = this.#rules.get(data.rule_id);
    if (rule === undefined || rule.last_fired_at > timestamp) return;
    rule.last_fired_at = timestamp;
    const item = this.#element.querySelector(`[data-rule="${rule.id}"] [data-facts]`);
    if (item !== null) item.textContent = factsOf(rule);
  }

  // Drawing and acting ----------------------------------------------------------------------------

  #draw() {
    this.#part("[data-new-rule]").hidden = !this.#isUser;
    this.#note.hidden = this.#isUser;
    const items = [...this.#rules.values()].map((rule) => this.#item(rule));
    this.#part("[data-rule-list]").replaceChildren(...items);
  }

  #item(rule) {
    const item = fromTemplate("rule");
    item.dataset.rule = rule.id;
    item.querySelector(".rule-name").textContent = rule.name;
    item.querySelector("[data-facts]").textContent = factsOf(rule);
    const actions = {
      pause: () => this.#pause(rule),
      edit: () => this.#editor.edit(rule),
      delete: (button) => this.#delete(rule, button),
    };
    item.querySelector('[data-do="pause"]').textContent = rule.paused ? "Resume" : "Pause";
    for (const button of item.querySelectorAll("[data-do]")) {
      button.setAttribute("aria-label", `${button.textContent}: ${rule.name}`);
      button.addEventListener("click", () => actions[button.dataset.do](button));
    }
    return item;
  }

  async #pause(rule) {
    const action = rule.paused ? "resume" : "pause";
    await this.#act(async () => {
      this.#rules.set(rule.id, await this.#page.rest.post(`alert-rules/${rule.id}/${action}`));
      this.#draw();
      this.#part(`[data-rule="${rule.id}"] [data-do="pause"]`).focus();
    });
  }

  async #delete(rule, button) {
    if (button.dataset.asked === undefined) {
      button.dataset.asked = "";
      button.textContent = "Really delete?";
      button.setAttribute("aria-label", `Really delete? ${rule.name}`);
      button.addEventListener("blur", () => this.#draw(), { once: true });
      return;
    }
    await this.#act(async () => {
      await this.#page.rest.delete(`alert-rules/${rule.id}`);
      this.#rules.delete(rule.id);
      this.#draw();
      this.#part("[data-new-rule]").focus();
      this.#page.announce(`The rule is deleted: ${rule.name}.`);
    });
  }

  async #act(action) {
    this.#explain("");
    try {
      await action();
    } catch (error) {
      this.#explain(error.message);
    }
  }

  #explain(text) {
    this.#part("[data-rules-problem]").textContent = format.sentence(text);
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }
}

function factsOf({ severity = "medium", symbols = [], paused, last_fired_at: fired }) {
  const named = symbols.length > 3 ? `${symbols.length} symbols` : symbols.join(", ");
  const facts = [severity, named === "*" ? "every symbol" : named];
  if (paused) facts.push("paused");
  facts.push(fired ? `fired ${format.date(fired)} ${format.timeOfDay(fired)}` : "never fired");
  return facts.filter(Boolean).join(" · ");
}
