// The fields of an alert rule as a form shows them, and back. Pure.

import { sentence } from "./format.js";

export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
// The fields of a condition that stand in the rule itself where that has only one.
const OF_CONDITION = ["value", "window", "direction", "seconds", "channel", "rearm"];

/** A rule with `symbols` and `conditions`, also where it was written in a short form. */
export function expanded(rule) {
  const { symbol, condition, threshold, ...full } = rule;
  if (symbol !== undefined) full.symbols ??= [symbol];
  if (typeof full.symbols === "string") full.symbols = [full.symbols];
  if (typeof condition !== "string" || full.conditions !== undefined) return { ...rule, ...full };
  const node = threshold === undefined ? { type: condition } : { type: condition, value: threshold };
  for (const name of OF_CONDITION) {
    if (name in full) node[name] = full[name];
    delete full[name];
  }
  return { ...full, conditions: [node] };
}

/** `AAPL, msft` -> ["AAPL", "MSFT"]. */
export function symbolsOf(text) {
  return text.split(/[\s,;]+/).filter(Boolean).map((symbol) => symbol.toUpperCase());
}

/** An instant as an input of the kind `datetime-local` has it, in the zone of this browser. */
export function localTime(text) {
  const moment = new Date(text ?? NaN);
  if (Number.isNaN(moment.getTime())) return "";
  const local = new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

/** The inverse; undefined for nothing. */
export function instantOf(local) {
  const moment = new Date(local);
  return Number.isNaN(moment.getTime()) ? undefined : moment.toISOString();
}

/** `active_hours` with a day added or taken out; all of them are the default, which is left out. */
export function withDay(hours, day, wanted) {
  const { days = DAYS, ...rest } = hours;
  const chosen = DAYS.filter((each) => (each === day ? wanted : days.includes(each)));
  return chosen.length === DAYS.length ? rest : { ...rest, days: chosen };
}

/** What is wrong with a rule, { path: [texts] } of REST, by the field of the form that has it. */
export function byField(problems) {
  const found = {};
  for (const [path, texts] of Object.entries(problems)) {
    const field = path.match(/^\w+/)?.[0] ?? "";
    (found[field] ??= {})[path] = [texts].flat().join(" ");
  }
  return found;
}

/** What the server says of a field, for somebody who fills in a form. */
export function problemOf(text) {
  return /^Expected (int|float)\b.*, got /.test(text) ? "Enter a number." : sentence(text);
}
