// The conditions of an alert rule as the rows of a form, and back to JSON. Pure.
//
// A row is { type, values } for a condition, { group: "all" or "any", rows } for conditions in
// brackets, or { json } for what the form does not know. `values` are JSON, unknown fields included:
// what was read is written again.

// The fields of conditions. `kind`: number, duration (seconds) or one of the `choices`; a field with
// a `default` may be absent, and so may an `optional` one.
export const FIELDS = {
  value: { label: "Value", kind: "number" },
  rearm: {
    label: "Until it is back at",
    kind: "number",
    optional: true,
    note: "Beyond the value, a condition stays true until the number is back here.",
  },
  window: { label: "Within", kind: "duration", initial: 300 },
  seconds: { label: "For", kind: "duration", initial: 60 },
  direction: {
    label: "Direction",
    choices: { any: "up or down", up: "up", down: "down" },
    default: "any",
  },
  channel: {
    label: "Updates",
    choices: { "market-data": "of market data", predictions: "of predictions" },
    default: "market-data",
  },
};

const LEVEL = ["value", "rearm"];

// Each `type` of a condition: how it is named, its fields, and the unit of its value.
export const TYPES = {
  above: { label: "Price is above", fields: LEVEL },
  below: { label: "Price is below", fields: LEVEL },
  crosses_above: { label: "Price crosses above", fields: LEVEL },
  crosses_below: { label: "Price crosses below", fields: LEVEL },
  percent_move: { label: "Price moves by", fields: ["value", "window", "direction"], unit: "%" },
  volume_above: { label: "Volume is above", fields: LEVEL },
  confidence_above: { label: "Confidence is above", fields: LEVEL, unit: "0 to 1" },
  confidence_below: { label: "Confidence is below", fields: LEVEL, unit: "0 to 1" },
  predicted_return_above: { label: "Predicted return is above", fields: LEVEL, unit: "%" },
  predicted_return_below: { label: "Predicted return is below", fields: LEVEL, unit: "%" },
  direction_flip: { label: "Predicted direction flips", fields: [] },
  stale: { label: "No updates come", fields: ["seconds", "channel"] },
};

// `all` and `any` may stand in each other, the rule's own `match` included, this deep.
export const MAX_DEPTH = 3;
export const GROUPS = { all: "all of these are true", any: "at least one of these is true" };

const isObject = (json) => typeof json === "object" && json !== null && !Array.isArray(json);

/** The rows of `conditions`. */
export function rowsOf(conditions) {
  return conditions.map(rowOf);
}

function rowOf(json) {
  if (!isObject(json)) return { json };
  const { type, conditions, ...values } = json;
  const short = Object.keys(json).length === 1 ? Object.keys(GROUPS).find((word) => word in json) : null;
  if (short && Array.isArray(json[short])) return { group: short, rows: rowsOf(json[short]) };
  const grouped = Object.hasOwn(GROUPS, type) && Array.isArray(conditions);
  if (grouped && Object.keys(values).length === 0) return { group: type, rows: rowsOf(conditions) };
  if (Object.hasOwn(TYPES, type) && conditions === undefined) return { type, values };
  return { json };
}

/** The inverse of `rowsOf`; groups are written in full. */
export function conditionsOf(rows) {
  return rows.map((row) => {
    if ("json" in row) return row.json;
    if ("group" in row) return { type: row.group, conditions: conditionsOf(row.rows) };
    return { type: row.type, ...row.values };
  });
}

/** Is every condition filled in? One that is not need not be shown to the server. */
export function areComplete(rows) {
  return rows.length > 0 && rows.every(isComplete);
}

function isComplete(row) {
  if ("group" in row) return areComplete(row.rows);
  if ("json" in row) return true;
  return TYPES[row.type].fields.every((name) => isFilledIn(row.values[name], FIELDS[name]));
}

function isFilledIn(value, { kind, optional }) {
  return kind === undefined || typeof value === "number" || (optional && value === undefined);
}

/** A new condition; `value` is known where the form is opened with a price. */
export function newRow(type = "above", value = undefined) {
  return retyped({ values: value === undefined ? {} : { value } }, type);
}

/** The condition with another type: it keeps the fields that both types have. */
export function retyped(row, type) {
  const values = {};
  for (const name of TYPES[type].fields) {
    const { initial } = FIELDS[name];
    if (name in row.values) values[name] = row.values[name];
    else if (initial !== undefined) values[name] = initial;
  }
  return { type, values };
}

/** A field as its input shows it. */
export function textOf(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What was typed as JSON; what is not a number stays a text, and the server says so. */
export function numberOf(text) {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  const number = Number(trimmed.replace(/^\+/, ""));
  return Number.isFinite(number) ? number : trimmed;
}

// Durations ---------------------------------------------------------------------------------------

export const UNITS = { s: 1, min: 60, h: 3600, d: 86_400 };

/** Seconds as { amount, unit }, in the largest unit that has no fraction. */
export function durationOf(seconds) {
  if (typeof seconds !== "number" || seconds === 0) return { amount: textOf(seconds), unit: "s" };
  const fitting = Object.keys(UNITS).filter((unit) => Number.isInteger(seconds / UNITS[unit]));
  const unit = fitting.at(-1) ?? "s";
  return { amount: String(seconds / UNITS[unit]), unit };
}

/** The seconds of what was typed; undefined for nothing. */
export function secondsOf(amount, unit) {
  const number = numberOf(amount);
  return typeof number === "number" ? number * UNITS[unit] : number;
}
