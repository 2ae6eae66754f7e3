// The form of an alert rule, on the page and in the admin: a rule as JSON in, edited JSON out.
//
// An input changes the field that it shows and nothing else, so what the form does not know stays.

import { fromTemplate } from "./dom.js";
import { RuleHours } from "./rule-hours.js";
import { RuleDestinations } from "./rule-destinations.js";
import { inputsOf } from "./rule-inputs.js";
import { RulePreview } from "./rule-preview.js";
import { RuleRows } from "./rule-rows.js";
import { RuleTrial } from "./rule-trial.js";
import { byField, expanded, instantOf, localTime, problemOf, symbolsOf } from "./rule-values.js";

// Of a field; the rows of conditions show their own problems.
const OWN_CONTROLS =
  ":scope > :is(input, select, textarea), :scope > :is(.rule-duration, .rule-inputs) [data-name]";

export class RuleForm {
  element = fromTemplate("rule-form");
  #rule = {};
  #changed;
  #rows;
  #hours;
  #destinations;
  #preview;
  #trial;

  /** `preview(rule)` and `dryRun(rule, past)` ask the server, and reject with `problems`, see rest.js;
   * `destinations()` resolves with those of the rule's owner.
   * `changed(rule)` is called after every edit. `named`: the name of a rule is part of the form. */
  constructor({ preview, dryRun, destinations, changed = () => {}, named = true }) {
    this.#changed = changed;
    const part = (selector) => this.element.querySelector(selector);
    this.#rows = new RuleRows(part("[data-rows]"), () => {
      const match = this.#rows.match === "all" ? undefined : this.#rows.match;
      this.#set({ match, conditions: this.#rows.conditions });
    });
    this.#hours = new RuleHours(part('[data-field="active_hours"]'), (hours) => {
      this.#set({ active_hours: hours });
    });
    this.#destinations = new RuleDestinations(part('[data-field="destinations"]'), {
      ask: destinations,
      changed: (ids) => this.#set({ destinations: ids }),
    });
    this.#preview = new RulePreview(part('[data-field="message"]'), {
      ask: () => (this.#isComplete ? preview(this.rule) : null),
      inserted: (message) => this.#set({ message }),
    });
    this.#trial = new RuleTrial(part("[data-trial]"), {
      ask: (past) => {
        this.clearProblems();
        return dryRun(this.rule, past);
      },
      failed: (error) => this.showError(error),
    });
    part('[data-field="name"]').hidden = !named;
    this.#listen();
  }

  /** The rule as it is in the form. */
  get rule() {
    return structuredClone(this.#rule);
  }

  show(rule) {
    this.#rule = expanded(rule);
    this.#rows.show(this.#rule.match, listOf(this.#rule.conditions));
    this.#hours.show(this.#rule.active_hours);
    this.showDestinations();
    for (const { input, read } of this.#inputs()) input.value = read(this.#rule);
    this.#input("once").checked = this.#rule.once === true;
    this.#showDurations();
    this.#trial.clear();
    this.clearProblems();
    this.#preview.ask();
  }

  /** Those of the owner, who may have become another one. */
  showDestinations() {
    this.#destinations.show(this.#rule.destinations);
  }

  get #isComplete() {
    return this.#rows.isComplete && listOf(this.#rule.symbols).length > 0;
  }

  focus() {
    this.#input("symbols").focus();
  }

  clearProblems() {
    this.#showProblems({});
  }

  /** What the server says about the rule, each at its field; moves to the first of them. */
  showError(error) {
    const problems = error.problems ?? {};
    const none = Object.keys(problems).length === 0;
    this.#showProblems(none ? { "": error.message } : problems);
    const first = this.element.querySelector("[aria-invalid]");
    first?.focus();
    first?.scrollIntoView({ block: "nearest" });
  }

  #showProblems(problems) {
    const fields = byField(problems);
    const { conditions = {}, ...others } = fields;
    const left = this.#rows.showProblems(conditions);
    if (Object.keys(left).length > 0) others.conditions = left;
    for (const field of this.element.querySelectorAll("[data-field]")) {
      const name = field.dataset.field;
      showProblem(field, others[name] ?? {});
      delete others[name];
    }
    const rest = Object.values(others).flatMap((texts) => Object.entries(texts));
    const texts = rest.map(([path, text]) => (/^(rule)?$/.test(path) ? text : `${path}: ${text}`));
    this.element.querySelector("[data-problem]").textContent = texts.map(problemOf).join(" ");
  }

  // Inputs ------------------------------------------------------------------------------------------

  /** Each input of a text, how it shows its field, and what it says. */
  #inputs() {
    const text = (name) => ({
      input: this.#input(name),
      read: (rule) => rule[name] ?? "",
      write: (value) => ({ [name]: value.trim() === "" ? undefined : value }),
    });
    return [
      text("name"),
      text("message"),
      {
        input: this.#input("symbols"),
        read: ({ symbols }) => listOf(symbols).join(", "),
        write: (value) => ({ symbols: symbolsOf(value) }),
      },
      {
        input: this.#input("severity"),
        read: ({ severity = "medium" }) => severity,
        write: (severity) => ({ severity }),
      },
      {
        input: this.#input("expires_at"),
        read: (rule) => localTime(rule.expires_at),
        write: (value) => ({ expires_at: instantOf(value) }),
      },
    ];
  }

  #input(name) {
    return this.element.querySelector(`[data-field="${name}"]`).querySelector("input, select, textarea");
  }

  #listen() {
    for (const { input, write } of this.#inputs()) {
      input.addEventListener("input", () => this.#set(write(input.value)));
    }
    this.#input("once").addEventListener("change", ({ target }) => {
      this.#set({ once: target.checked || undefined });
    });
  }

  #showDurations() {
    for (const place of this.element.querySelectorAll("[data-duration]")) {
      const name = place.dataset.duration;
      const field = { name, id: `rule-${name}`, kind: "duration" };
      const set = (seconds) => this.#set({ [name]: seconds });
      place.replaceChildren(...inputsOf(field, this.#rule[name], set));
    }
  }

  #set(fields) {
    Object.assign(this.#rule, fields);
    for (const name of Object.keys(fields)) {
      if (fields[name] === undefined) delete this.#rule[name];
    }
    this.#preview.ask();
    this.#changed(this.rule);
  }
}

function showProblem(field, texts) {
  const problem = field.querySelector(":scope > .problem");
  problem.textContent = Object.values(texts).map(problemOf).join(" ");
  const names = Object.keys(texts).map((path) => path.split(".").at(-1));
  for (const control of field.querySelectorAll(OWN_CONTROLS)) {
    const named = control.dataset.name === undefined || names.includes(control.dataset.name);
    control.toggleAttribute("aria-invalid", names.length > 0 && named);
  }
}

function listOf(value) {
  return Array.isArray(value) ? value : [];
}
