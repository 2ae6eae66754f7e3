// The conditions of a rule as rows of inputs, in groups of all and any.

import { choose, make } from "./dom.js";
import { problemOf } from "./rule-values.js";
import * as rules from "./rule-conditions.js";
import { inputsOf } from "./rule-inputs.js";

const TYPE_LABELS = Object.fromEntries(
  Object.entries(rules.TYPES).map(([type, { label }]) => [type, label]),
);
let inputs = 0; // for the ids of their labels
const CONDITION_CONTROLS = "select, input";

export class RuleRows {
  #element;
  #changed;
  #root = { group: "all", rows: [] };
  #places = []; // { path, element }: where the problems of a condition are shown

  /** `changed()` is called after every edit. */
  constructor(element, changed) {
    this.#element = element;
    this.#changed = changed;
  }

  get match() {
    return this.#root.group;
  }

  get conditions() {
    return rules.conditionsOf(this.#root.rows);
  }

  get isComplete() {
    return rules.areComplete(this.#root.rows);
  }

  show(match, conditions) {
    this.#root = { group: match === "any" ? "any" : "all", rows: rules.rowsOf(conditions) };
    this.#draw();
  }

  /** Put each problem, { path: text }, at its row; returns those that belong to none. */
  showProblems(problems) {
    const left = {};
    for (const { element } of this.#places) this.#showProblem(element, "", "");
    for (const [path, text] of Object.entries(problems)) {
      const within = this.#places.filter((place) => isWithin(path, place.path));
      const place = within.sort((one, other) => other.path.length - one.path.length)[0];
      if (place === undefined) left[path] = text;
      else this.#showProblem(place.element, text, path.slice(place.path.length + 1));
    }
    return left;
  }

  #showProblem(element, text, field) {
    element.querySelector(":scope > .problem").textContent = problemOf(text);
    for (const control of element.querySelectorAll(":scope > .rule-inputs [data-name]")) {
      control.toggleAttribute("aria-invalid", text !== "" && control.dataset.name === field);
    }
  }

  // Drawing: all of it after a change of the structure, so that paths are always those on the screen.

  #draw(focused = null) {
    this.#places = [];
    this.#element.replaceChildren(this.#group(this.#root, { depth: 1, path: "", focused }));
  }

  #restructured(focused) {
    this.#draw(focused);
    this.#changed();
  }

  #group(group, { depth, path, focused, remove = null }) {
    const select = choose(rules.GROUPS, group.group, {
      "aria-label": "How the conditions are combined",
      on: { change: () => this.#edited(() => (group.group = select.value)) },
    });
    const items = group.rows.map((row, index) => {
      const at = depth === 1 ? `conditions[${index}]` : `${path}.conditions[${index}]`;
      return this.#item(group, row, { depth, path: at, focused });
    });
    return make(
      "div",
      { class: "rule-group" },
      make("div", { class: "rule-inputs" }, select, remove),
      make("ol", { class: "rule-rows" }, ...items),
      this.#adders(group, depth),
    );
  }

  #adders(group, depth) {
    const add = (row) => {
      group.rows.push(row);
      this.#restructured(row.group ? row.rows[0] : row);
    };
    const adder = (text, make_) => button(text, { class: "small", on: { click: () => add(make_()) } });
    const deeper = () => ({ group: group.group === "all" ? "any" : "all", rows: [rules.newRow()] });
    return make(
      "div",
      { class: "rule-adders" },
      adder("Add a condition", rules.newRow),
      depth < rules.MAX_DEPTH ? adder("Add a group", deeper) : null,
    );
  }

  #item(group, row, about) {
    const remove = this.#remover(group, row);
    const problem = make("p", { class: "problem", role: "alert" });
    const [shown, focus] = this.#row(row, about, remove);
    const item = make("li", { class: "rule-row" }, shown, problem);
    this.#places.push({ path: about.path, element: item });
    if (row === about.focused) queueMicrotask(() => focus?.focus());
    return item;
  }

  /** What stands in the row, and its first control. */
  #row(row, about, remove) {
    if ("group" in row) {
      const group = this.#group(row, { ...about, depth: about.depth + 1, remove });
      return [group, group.querySelector(CONDITION_CONTROLS)];
    }
    const inputs = "json" in row ? [jsonOf(row)] : [this.#type(row), ...this.#fields(row)];
    const shown = make("div", { class: "rule-inputs" }, ...inputs, remove);
    return [shown, shown.querySelector(CONDITION_CONTROLS)];
  }

  #remover(group, row) {
    const remove = () => {
      const index = group.rows.indexOf(row);
      group.rows.splice(index, 1);
      this.#restructured(group.rows[Math.max(0, index - 1)] ?? null);
      if (group.rows.length === 0) this.#element.querySelector(".rule-adders button").focus();
    };
    const label = "group" in row ? "Remove the group" : "Remove the condition";
    return button("×", { class: "remove", "aria-label": label, on: { click: remove } });
  }

  #type(row) {
    const select = choose(TYPE_LABELS, row.type, {
      "aria-label": "Condition",
      "data-name": "type",
      on: {
        change: () => {
          Object.assign(row, rules.retyped(row, select.value));
          this.#restructured(row);
        },
      },
    });
    return select;
  }

  #fields(row) {
    const { fields, unit = "" } = rules.TYPES[row.type];
    return fields.map((name) => {
      const field = rules.FIELDS[name];
      const set = (value) => this.#edited(() => setOrDelete(row.values, name, value));
      const id = `rule-input-${++inputs}`;
      const controls = inputsOf({ name, id, ...field }, row.values[name], set);
      const label = name === "value" && unit ? `${field.label} (${unit})` : field.label;
      const labelled = make("label", { for: id, text: label, title: field.note });
      return make("div", { class: "rule-input" }, labelled, ...controls);
    });
  }

  #edited(edit) {
    edit();
    this.#changed();
  }
}

function jsonOf(row) {
  const note = "The form does not know this condition; it stays as it is.";
  return make("code", { text: JSON.stringify(row.json), title: note });
}

function button(text, attributes) {
  return make("button", { type: "button", text, ...attributes });
}

function setOrDelete(values, name, value) {
  if (value === undefined) delete values[name];
  else values[name] = value;
}

function isWithin(path, place) {
  return path === place || path.startsWith(`${place}.`) || path.startsWith(`${place}[`);
}
