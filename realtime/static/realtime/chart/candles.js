// Candles of one symbol: stored bars, and live updates that go into the last one. Pure.
// What counts, and where, is what the recorder does: docs/reference/bars.md.

export const DAY = 86_400;

/** Seconds of each interval. */
export const INTERVALS = { "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": DAY };

export const RESTART = 7 * DAY; // a replay that goes back by more begins again
const FUTURE = 10; // seconds that the clock of a market may be ahead
const LARGEST_EPOCH = 1e11;
// Beyond this the library for charts throws.
const LARGEST_PRICE = 9e13;

/** Seconds since 1970 of an RFC 3339 text, UTC without a zone, or of a number of any usual unit. */
export function secondsOf(moment) {
  if (typeof moment === "number") {
    let seconds = moment;
    for (let unit = 0; unit < 3 && Math.abs(seconds) > LARGEST_EPOCH; unit += 1) seconds /= 1000;
    return Math.abs(seconds) > LARGEST_EPOCH ? NaN : seconds;
  }
  const zoned = /([zZ]|[+-]\d\d:?\d\d)$/.test(moment) || /^\d{4}-\d\d-\d\d$/.test(moment);
  return Date.parse(zoned ? moment : `${moment}Z`) / 1000;
}

/** A price that can be drawn. */
export function isPrice(value) {
  return typeof value === "number" && value > 0 && value < LARGEST_PRICE;
}

/** The first second of the day whose bar an update describes; null if it describes none. */
export function dayOf({ bar_date: day }) {
  return /^\d{4}-\d\d-\d\d$/.test(day) && !Number.isNaN(Date.parse(day)) ? Date.parse(day) / 1000 : null;
}

/** When the bar that holds this second begins. */
export function barStart(interval, seconds) {
  return Math.floor(seconds / INTERVALS[interval]) * INTERVALS[interval];
}

export class Candles {
  /** Oldest first: { time, open, high, low, close, volume }, `time` in seconds. */
  all = [];
  /** Where the prices come from; null: not known yet. */
  source = null;
  #lastAt = -Infinity; // event time of the newest live update

  constructor(interval) {
    this.interval = interval;
  }

  get last() {
    return this.all.at(-1);
  }

  /** The newest bars, as the REST API has them; they replace all others. */
  load({ source, bars }) {
    this.source = source;
    this.all = bars.map(candleOf).filter(isSound);
    this.#lastAt = -Infinity;
  }

  /** Bars before the first one; how many they are. */
  prepend({ bars }) {
    const older = bars.map(candleOf).filter(isSound);
    const added = older.filter(({ time }) => this.all.length === 0 || time < this.all[0].time);
    this.all = [...added, ...this.all];
    return added.length;
  }

  /**
   * Stored bars once more: they are right, but for the last one, which may lag behind. The time of
   * the last of them; undefined if there is none.
   */
  refresh({ bars }) {
    const known = new Map(this.all.map((candle) => [candle.time, candle]));
    for (const bar of bars.filter((each) => isSound(candleOf(each)))) {
      const stored = candleOf(bar);
      const live = known.get(stored.time);
      known.set(stored.time, live && !bar.closed ? joined(stored, live) : stored);
    }
    this.all = [...known.values()].sort((one, other) => one.time - other.time);
    return bars.map(candleOf).filter(isSound).at(-1)?.time;
  }

  /**
   * Counts a `market_data_update`. What it changed: "last", the last candle, which may be a new one;
   * "earlier", another one; "all": the bars are to be read again; null: nothing.
   */
  add({ data, timestamp, snapshot, replayed }, now = Date.now() / 1000) {
    if (!this.#isOurs(data)) return null;
    if (data.corrects) return "all";
    const tick = tickOf(data, timestamp, this.interval, now);
    if (tick === null) return null;
    const whole = dayOf(data) !== null;
    if (this.last && whole && tick.time < this.last.time - RESTART) return "all";
    // Stored already, most likely: what is read next has its volume.
    if (!whole && (snapshot || replayed)) tick.volume = 0;
    this.source ??= data.source ?? "";
    return this.#join(tick, whole);
  }

  #isOurs({ source }) {
    return this.source === null || (source ?? "") === this.source;
  }

  #join(tick, whole) {
    const place = this.all.findLastIndex(({ time }) => time <= tick.time);
    const before = this.all[place];
    const newest = place === this.all.length - 1;
    const { at, ...candle } = tick;
    if (before?.time !== tick.time) this.all.splice(place + 1, 0, candle);
    else {
      const later = newest && at >= this.#lastAt;
      this.all[place] = joined(before, candle, { later, whole });
    }
    if (newest) this.#lastAt = Math.max(at, this.#lastAt);
    return newest ? "last" : "earlier";
  }
}

function candleOf({ start, open, high, low, close, volume }) {
  return { time: Date.parse(start) / 1000, open, high, low, close, volume: volume ?? 0 };
}

function isSound({ time, open, high, low, close }) {
  return Number.isFinite(time) && [open, high, low, close].every(isPrice);
}

/** One update as a candle, with the time `at` which it happened; null for one without a candle. */
function tickOf(data, timestamp, interval, now) {
  const { price } = data;
  const at = secondsOf(data.timestamp ?? timestamp);
  if (!isPrice(price) || Number.isNaN(at) || at > now + FUTURE) return null;
  const volume = Number.isFinite(data.volume) && data.volume > 0 ? data.volume : 0;
  const day = dayOf(data);
  if (day === null) {
    if (data.bar_date) return null;
    const time = barStart(interval, at);
    return { at, time, open: price, high: price, low: price, close: price, volume };
  }
  if (interval !== "1d" || day > now + DAY) return null;
  const [open, high, low] = [data.open, data.high, data.low].map((it) => (isPrice(it) ? it : price));
  const [top, bottom] = [Math.max(open, high, price), Math.min(open, low, price)];
  return { at, time: day, open, high: top, low: bottom, close: price, volume };
}

/** A candle with a part of it that came later. `whole`: its volume is that of the bar so far. */
function joined(before, part, { later = true, whole = true } = {}) {
  return {
    ...before,
    high: Math.max(before.high, part.high),
    low: Math.min(before.low, part.low),
    close: later ? part.close : before.close,
    volume: whole ? Math.max(before.volume, part.volume) : before.volume + part.volume,
  };
}
