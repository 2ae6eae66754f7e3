// Numbers and times as text. Pure.

const NOTHING = "–";
// From here on a number is written with a power of ten: nobody reads three hundred digits.
const HUGE = 1e15;

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const full = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" });

/** Two decimals; more below 10, as far as they are given, and below 1, where two would hide the
 * movement. */
export function price(value) {
  if (!Number.isFinite(value)) return NOTHING;
  if (Math.abs(value) >= HUGE) return value.toExponential(2);
  const [least, most] = decimals(Math.abs(value));
  return written(least, most).format(value);
}

const writers = new Map(); // making one takes as long as a hundred numbers

function written(minimumFractionDigits, maximumFractionDigits) {
  const key = `${minimumFractionDigits}-${maximumFractionDigits}`;
  if (!writers.has(key)) {
    writers.set(key, new Intl.NumberFormat("en", { minimumFractionDigits, maximumFractionDigits }));
  }
  return writers.get(key);
}

/** How many decimals a price of this size has, at least and at most. */
function decimals(size) {
  if (size >= 10 || size === 0) return [2, 2];
  if (size >= 1) return [2, 5];
  const digits = Math.min(12, Math.max(5, 3 - Math.floor(Math.log10(size))));
  return [digits, digits];
}

/** `▲ 1.25 %`: the direction is in the sign and the arrow, not in the colour alone. */
export function change(percent) {
  if (!Number.isFinite(percent)) return NOTHING;
  const size = Math.abs(percent);
  const text = `${size >= HUGE ? size.toExponential(2) : size.toFixed(2)} %`;
  return ["▼ −", "", "▲ +"][direction(percent) + 1] + text;
}

/** NaN where there is nothing to compare. */
export function percentBetween(before, after) {
  return before > 0 ? (after / before - 1) * 100 : NaN;
}

/** 1, 0 or -1: the sign of a percentage as it is shown, so that 0.00 has neither arrow nor colour. */
export function direction(percent) {
  return Math.sign(Number(percent.toFixed(2))) || 0;
}

export function volume(value) {
  if (!Number.isFinite(value)) return NOTHING;
  return Math.abs(value) >= HUGE ? value.toExponential(1) : compact.format(value);
}

/** 0.9 -> `90 %`. */
export function share(value) {
  if (!Number.isFinite(value)) return NOTHING;
  return `${Number((value * 100).toFixed(1))} %`;
}

/** A horizon in steps (bars), or whatever text a publisher wrote there. */
export function horizon(value) {
  if (!Number.isFinite(value)) return typeof value === "string" ? value : "";
  return value === 1 ? "1 step ahead" : `${value} steps ahead`;
}

/** `3 ms`, `1.2 s`. */
export function milliseconds(ms) {
  if (!Number.isFinite(ms)) return NOTHING;
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Whole seconds up to a minute and a half, then minutes. */
export function age(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

/** The time of day, here, of an RFC 3339 text; any other text as it stands. */
export function timeOfDay(text) {
  const moment = new Date(text);
  return Number.isNaN(moment.getTime()) ? String(text ?? "") : clock.format(moment);
}

/** `30 Nov 2026, 14:05:09 CET`: day, time and zone, here. */
export function moment(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? String(text ?? "") : full.format(time);
}

/** `3 May 2004` for `2004-05-03`. */
export function date(text) {
  const moment = new Date(text);
  return Number.isNaN(moment.getTime()) ? String(text ?? "") : day.format(moment);
}

/** A message of the server as a sentence of the page. */
export function sentence(text) {
  const trimmed = text.trim();
  const start = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(start) || start === "" ? start : `${start}.`;
}
