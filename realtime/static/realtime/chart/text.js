// What the chart says in words: times in the zone of the reader, a candle, a prediction, a summary.

import * as format from "../format.js";
import { held, lately } from "../score.js";
import { DAY, INTERVALS } from "./candles.js";

const NAMES = {
  "1m": "1 minute", "5m": "5 minutes", "15m": "15 minutes",
  "1h": "1 hour", "4h": "4 hours", "1d": "1 day",
};
const LOCALE = "en-GB";

/** Days are days in UTC; anything shorter is told in the zone of the reader. */
export function clockOf(interval, timeZone = Intl.DateTimeFormat().resolvedOptions().timeZone) {
  const daily = INTERVALS[interval] === DAY;
  return new Clock(daily, daily ? "UTC" : timeZone);
}

class Clock {
  #parts;
  #long;
  #ticks;

  constructor(daily, timeZone) {
    const of = (options) => new Intl.DateTimeFormat(LOCALE, { timeZone, ...options });
    const day = { day: "numeric", month: "short", year: "numeric" };
    const minute = { hour: "2-digit", minute: "2-digit" };
    this.daily = daily;
    this.zone = timeZone;
    this.#long = of(daily ? { weekday: "short", ...day } : { ...day, ...minute });
    // By the kind of a mark on the axis: TickMarkType of the library, from years to seconds.
    this.#ticks = [
      of({ year: "numeric" }), of({ month: "short" }), of({ day: "numeric", month: "short" }),
      of(minute), of({ ...minute, second: "2-digit" }),
    ];
    const numbers = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric" };
    this.#parts = of({ ...numbers, minute: "numeric", second: "numeric", hourCycle: "h23" });
  }

  /** `3 May 2004, 14:35`; for days `Mon, 3 May 2004`. */
  text(seconds) {
    return this.#long.format(seconds * 1000);
  }

  tick(seconds, kind) {
    return this.#ticks[kind].format(seconds * 1000);
  }

  /** What a clock on the wall shows, as seconds of a day in UTC: days begin where they do here. */
  local(seconds) {
    if (this.zone === "UTC") return seconds;
    const parts = this.#parts.formatToParts(seconds * 1000);
    const of = Object.fromEntries(parts.map(({ type, value }) => [type, Number(value)]));
    return Date.UTC(of.year, of.month - 1, of.day, of.hour, of.minute, of.second) / 1000;
  }

  /** `Times in Europe/Berlin (GMT+2)`. */
  note(seconds) {
    if (this.daily) return "Days in UTC";
    const named = new Intl.DateTimeFormat(LOCALE, { timeZone: this.zone, timeZoneName: "shortOffset" });
    const { value } = named.formatToParts(seconds * 1000).find(({ type }) => type === "timeZoneName");
    return `Times in ${this.zone}${value === this.zone ? "" : ` (${value})`}`;
  }
}

/** Where the prices come from, after the zone of their times. */
export function sourceText(source) {
  if (source === "replay") return " · historical replay, not live prices";
  return source ? ` · prices of ${source}` : "";
}

export function candleText(candle, clock) {
  const { open, high, low, close, volume } = candle;
  const [o, h, l, c] = [open, high, low, close].map(format.price);
  const traded = volume > 0 ? ` · Volume ${format.volume(volume)}` : "";
  return `${clock.text(candle.time)} · Open ${o} · High ${h} · Low ${l} · Close ${c}${traded}`;
}

/** `150.25 (148.10 to 152.40, 90 % confidence), 5 steps ahead, about Mon, 3 May 2004`. */
export function forecastText(forecast, clock) {
  if (forecast === null) return "No prediction yet.";
  const { price, lower, upper, confidence, horizon, model, to, actual } = forecast;
  const sure = Number.isFinite(confidence) ? `, ${format.share(confidence)} confidence` : "";
  const band = lower === null ? "no bounds given" : `${format.price(lower)} to ${format.price(upper)}`;
  const became = actual === null ? "" : ` · became ${format.price(actual)}`;
  const about = to === undefined ? "" : `, for ${clock.text(to)}`;
  const by = model ? ` · ${model}` : "";
  return `${format.price(price)} (${band}${sure}), ${format.horizon(horizon)}${about}${by}${became}`;
}

/** For readers who do not see the drawing. */
export function summaryOf({ symbol, candles, current, outcomes, clock }) {
  const { all, interval, last } = candles;
  if (!last) return "";
  const [low, high] = [Math.min(...all.map((it) => it.low)), Math.max(...all.map((it) => it.high))];
  const sentences = [
    `${symbol}: ${all.length} bars of ${NAMES[interval]} from ${clock.text(all[0].time)} to ` +
      `${clock.text(last.time)}, between ${format.price(low)} and ${format.price(high)}, ` +
      `now ${format.price(last.close)}.`,
  ];
  if (current) sentences.push(`Predicted: ${forecastText(current, clock)}.`);
  const told = outcomes.filter(({ within }) => within !== null);
  const kept = told.filter(({ within }) => within).length;
  if (told.length > 0) {
    sentences.push(`Of ${told.length} past predictions on this chart, ${kept} held their band.`);
  }
  return sentences.join(" ");
}

/** `91 % in band (90 % promised) · direction right 56 % · last 200`, with the error and the skill. */
export function scoreText(score) {
  if (!score) return "No outcome of a prediction yet.";
  const { mean_absolute_error: error, skill } = score;
  const parts = [held(score), lately(score)];
  if (Number.isFinite(error)) parts.push(`mean error ${format.price(error)}`);
  if (Number.isFinite(skill)) parts.push(`skill ${skill.toFixed(2).replace("-", "−")}`);
  return `${score.model ? `${score.model}: ` : ""}${parts.filter(Boolean).join(" · ")}`;
}

/** `marks`: the bars that a rule would have fired in, see firings.js. */
export function firingsText(total, marks) {
  if (total === 0) return "";
  const marked = marks.reduce((sum, { count }) => sum + count, 0);
  const rule = total === 1 ? "1 firing of the rule" : `${total} firings of the rule`;
  if (marked === total) return `${rule}: marked with arrows.`;
  if (marked > 0) return `${rule}: ${marked} marked with arrows; the chart has no bar at the times of the others.`;
  return `${rule}, at times without a bar on this chart. Prices of a replay have old dates: try the rule on bars.`;
}

/** Why there is no candle. `daily`: the prices of this symbol are those of days. */
export function emptyText(symbol, interval, { daily }) {
  const none = `No bars of ${NAMES[interval]} for ${symbol} yet.`;
  if (daily && interval !== "1d") return `${none} Its prices are those of days: choose 1d.`;
  return `${none} Send market data, and start the recorder, which make run and run_background include:`;
}
