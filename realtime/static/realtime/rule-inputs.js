// The inputs of one field of a rule, by its kind. Each calls `set` with what it says, as JSON;
// undefined: nothing.

import { choose, make } from "./dom.js";
import * as rules from "./rule-conditions.js";

export function inputsOf(field, value, set) {
  if (field.kind === "duration") return durationInputs(field, value, set);
  return [field.choices ? choiceInput(field, value, set) : numberInput(field, value, set)];
}

function choiceInput({ name, id, choices, default: usual }, value, set) {
  const select = choose(choices, value ?? usual, {
    "data-name": name,
    id,
    on: { change: () => set(select.value) },
  });
  return select;
}

function numberInput({ name, id, optional }, value, set) {
  const placeholder = optional ? "optional" : null;
  const input = typed(name, rules.textOf(value), { id, placeholder });
  input.addEventListener("input", () => set(rules.numberOf(input.value)));
  return input;
}

function durationInputs({ name, id }, seconds, set) {
  const { amount, unit } = rules.durationOf(seconds);
  const tell = () => set(rules.secondsOf(input.value, select.value));
  const input = typed(name, amount, { id });
  input.addEventListener("input", tell);
  const units = Object.fromEntries(Object.keys(rules.UNITS).map((word) => [word, word]));
  const select = choose(units, unit, { "aria-label": "Unit", on: { change: tell } });
  return [input, select];
}

// Not type="number": what it does not understand, a decimal comma, it hides from everybody.
function typed(name, value, attributes) {
  return make("input", {
    "data-name": name, inputmode: "decimal", autocomplete: "off", value, ...attributes,
  });
}
