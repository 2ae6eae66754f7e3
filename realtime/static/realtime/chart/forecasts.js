// Predictions on a chart: where they point to, what became of them, and how good they were. Pure.

import { DAY, INTERVALS, RESTART, barStart, isPrice, secondsOf } from "./candles.js";

const STEPS = { "1m": 60, "1d": DAY };
// Outcomes that one point of the score looks back on, and those without which it tells nothing.
const WINDOW = 20;
const ENOUGH = 5;
const MAX_KEPT = 1000;
const MAX_HORIZON = 365;

/**
 * The prediction in `data` of an update, or in a row of the REST API; null without a price.
 * `made` and `until` are on the market's clock; null: they are not said.
 */
export function forecastOf(data) {
  const price = data.predicted_price ?? data.prediction;
  if (!isPrice(price)) return null;
  const [lower, upper] = [data.lower_bound ?? data.lower, data.upper_bound ?? data.upper];
  const bounded = isPrice(lower) && isPrice(upper);
  const { horizon, step } = data;
  return {
    id: data.prediction_id ?? null,
    price,
    lower: bounded ? lower : null,
    upper: bounded ? upper : null,
    confidence: data.confidence ?? null,
    horizon: Number.isInteger(horizon) && horizon > 0 ? Math.min(horizon, MAX_HORIZON) : 1,
    step: step ?? "1d",
    made: timeOrNull(data.timestamp),
    until: timeOrNull(data.valid_until),
    last: data.last_price ?? data.current_price ?? null,
    model: data.model ?? "",
    source: data.source || null,
    requested: data.requested ?? false,
    actual: data.actual_price ?? null,
    within: data.within_bounds ?? null,
  };
}

function timeOrNull(moment) {
  const seconds = moment ? secondsOf(moment) : NaN;
  return Number.isNaN(seconds) ? null : seconds;
}

export class Forecasts {
  /** The newest prediction of the feed, and the last one that was requested here. */
  current = null;
  requested = null;
  #known = new Map(); // id -> forecast, oldest first

  /** Rows of the REST API, newest first. */
  load(rows) {
    const found = ofThisLap(rows.map(forecastOf).filter(Boolean));
    this.current = found.find(({ requested }) => !requested) ?? null;
    this.#known = new Map(found.reverse().map((forecast) => [forecast.id, forecast]));
  }

  /** A `prediction_update`; one that does not say when it was made is about the last candle. */
  add({ data, request_id: request }, candles) {
    const forecast = forecastOf({ requested: request !== undefined, ...data });
    if (forecast === null) return;
    forecast.made ??= candles.last?.time ?? null;
    if (forecast.requested) this.requested = forecast;
    else this.current = forecast;
    if (forecast.id === null) return;
    this.#known.set(forecast.id, forecast);
    if (this.#known.size > MAX_KEPT) this.#known.delete(this.#known.keys().next().value);
  }

  /** A `prediction_outcome`. */
  resolve({ prediction_id: id, actual_price: actual, within_bounds: within }) {
    const forecast = this.#known.get(id);
    if (forecast) Object.assign(forecast, { actual, within: within ?? null });
  }

  /** Those that came to something, placed, in the order of the bars that they were about. */
  outcomes(candles) {
    const resolved = [...this.#known.values()].filter(({ actual }) => isPrice(actual));
    const found = resolved.map((forecast) => placed(forecast, candles)).filter(Boolean);
    const last = candles.last?.time;
    return found.filter(({ to }) => to <= last).sort((one, other) => one.to - other.to);
  }
}

/** Without those of an earlier lap of a replay, which are about its future. Newest first. */
function ofThisLap(forecasts) {
  const end = forecasts.findIndex(({ made, source }, place) => {
    const later = forecasts[place - 1];
    return source !== null && later?.source === source && made > later.made + RESTART;
  });
  return end === -1 ? forecasts : forecasts.slice(0, end);
}

/**
 * A forecast with its way on these candles: `from` the bar that it was made in, over `ahead` (the
 * times without a candle yet) `to` the bar that it is about. null: these candles are not its own.
 */
export function placed(forecast, candles) {
  const { all, source, interval } = candles;
  const { made, horizon, step } = forecast;
  const strange = forecast.source !== null && source !== null && forecast.source !== source;
  if (strange || all.length === 0 || made === null) return null;
  const length = INTERVALS[interval];
  if (made < all[0].time || made >= candles.last.time + Math.max(length, DAY)) return null;
  const start = all.findLastIndex(({ time }) => time <= made);
  const from = all[start].time;
  if (STEPS[step] === length) {
    const target = all[start + horizon];
    const ahead = target ? [] : timesAfter(candles, start + horizon - all.length + 1);
    return { ...forecast, from, to: target?.time ?? ahead.at(-1), ahead };
  }
  const until = forecast.until ?? made + horizon * (STEPS[step] ?? 0);
  const bucket = Math.max(barStart(interval, until), from + length);
  const target = all.find(({ time }) => time >= bucket);
  return { ...forecast, from, to: target?.time ?? bucket, ahead: target ? [] : [bucket] };
}

/** When the next bars will begin. Days of a market that rests on weekends leave these out. */
export function timesAfter({ all, interval }, count) {
  const rests = interval === "1d" && !all.slice(-30).some(({ time }) => isWeekend(time));
  const times = [];
  for (let time = all.at(-1).time; times.length < count; ) {
    time += INTERVALS[interval];
    if (!rests || !isWeekend(time)) times.push(time);
  }
  return times;
}

function isWeekend(seconds) {
  return [0, 6].includes(new Date(seconds * 1000).getUTCDay());
}

/** The share of the last WINDOW outcomes within their bounds, at each bar: { time, value } in %. */
export function scoreOverTime(outcomes) {
  const told = outcomes.filter(({ within }) => within !== null);
  const points = new Map();
  for (let end = ENOUGH; end <= told.length; end += 1) {
    const counted = told.slice(Math.max(0, end - WINDOW), end);
    const held = counted.filter(({ within }) => within).length;
    points.set(told[end - 1].to, (100 * held) / counted.length);
  }
  return [...points].map(([time, value]) => ({ time, value }));
}
