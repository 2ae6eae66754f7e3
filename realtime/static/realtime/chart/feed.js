// What a chart shows, kept up to date: read over REST, and followed on the sockets from there.

import { Candles, DAY, INTERVALS, dayOf } from "./candles.js";
import { Forecasts } from "./forecasts.js";

const BARS = 500;
const PREDICTIONS = 300;
// Live updates leave small things out: volumes of a reconnect, corrections, folded extremes.
const REFRESH_MS = 15_000;
const OVERLAP = 3; // bars that are read once more

export class ChartFeed {
  symbol = null;
  candles = new Candles("1d");
  forecasts = new Forecasts();
  score = null; // of the model of the newest prediction
  #rest;
  #on;
  #reading = null; // what is being read: the answers to anything else are too late
  #quotes = new Map(); // symbol -> the newest market_data_update
  #predictions = new Map(); // symbol -> the newest prediction_update, of the feed
  #requested = new Map(); // symbol -> the last forecast that was requested here
  #reachedStart = false;
  #stale = false; // stored bars have changed
  #missed = []; // updates that came while the bars were read
  #confirmed = 0; // when the newest bar begins that was read

  /** `on`: { loaded(), changed(what), quoted(symbol), failed(message) }; `what`: "last", "bars" or
   * "forecasts". */
  constructor({ rest, market, predictions }, on) {
    this.#rest = rest;
    this.#on = on;
    market.addEventListener("market_data_update", ({ detail }) => this.#quoted(detail));
    market.addEventListener("connected", () => this.#again());
    predictions.addEventListener("prediction_update", ({ detail }) => this.#predicted(detail));
    predictions.addEventListener("prediction_outcome", ({ detail }) => this.#resolved(detail));
    setInterval(() => this.#refresh(), REFRESH_MS);
  }

  /** Are the prices of a symbol those of days? null: no price is known yet. */
  isDaily(symbol = this.symbol) {
    const quote = this.#quotes.get(symbol);
    return quote === undefined ? null : dayOf(quote.data) !== null;
  }

  async open(symbol, interval) {
    const reading = (this.#reading = {});
    const candles = new Candles(interval);
    if (symbol !== this.symbol || interval !== this.candles.interval) {
      this.candles = new Candles(interval); // none of what was there before
      this.forecasts = new Forecasts();
    }
    this.symbol = symbol;
    this.#missed = [];
    const query = { interval, limit: BARS, before: this.#clockOf(symbol) };
    try {
      const [bars, forecasts] = await Promise.all([this.#bars(query), this.#forecasts()]);
      if (this.#reading !== reading) return;
      candles.load(bars);
      this.#start(candles, forecasts);
    } catch (error) {
      if (this.#reading !== reading) return;
      this.#stale = true;
      this.#on.failed(error.message);
    } finally {
      if (this.#reading === reading) this.#reading = null;
    }
  }

  close() {
    this.symbol = this.#reading = null;
  }

  /** What another user was told. */
  forget() {
    for (const known of [this.#quotes, this.#predictions, this.#requested]) known.clear();
  }

  dismissRequested() {
    this.#requested.delete(this.symbol);
    this.forecasts.requested = null;
    this.#on.changed("forecasts");
  }

  /** Bars before the first one, until there are no more. */
  async readOlder() {
    const [first] = this.candles.all;
    if (this.#reachedStart || first === undefined) return;
    this.#reachedStart = true; // until the answer says otherwise
    const { candles } = this;
    const before = timeOf(first.time);
    const { interval, source } = candles;
    const bars = await this.#bars({ interval, source, limit: BARS, before }).catch(() => null);
    if (bars === null || candles !== this.candles) return;
    this.#reachedStart = candles.prepend(bars) === 0;
    if (!this.#reachedStart) this.#on.changed("bars");
  }

  // ---------------------------------------------------------------------------------------------

  #start(candles, { rows, score, problem }) {
    this.candles = candles;
    this.forecasts = new Forecasts();
    this.#reachedStart = this.#stale = false;
    this.#confirmed = candles.last?.time ?? 0;
    const quote = this.#quotes.get(this.symbol);
    for (const update of this.#missed.length > 0 || !quote ? this.#missed : [quote]) {
      candles.add({ ...update, snapshot: true });
    }
    this.forecasts.load(rows);
    this.score = score;
    const newest = this.#predictions.get(this.symbol);
    if (newest) this.forecasts.add(newest, candles);
    this.forecasts.requested = this.#requested.get(this.symbol) ?? null;
    this.#on.loaded(problem);
  }

  #bars(query) {
    return this.#rest.get(`market-data/${encodeURIComponent(this.symbol)}/bars`, query);
  }

  /** Without them there is a chart of prices all the same. */
  async #forecasts() {
    const { symbol } = this;
    try {
      const [{ results }, { scores }] = await Promise.all([
        this.#rest.get("predictions", { symbol, limit: PREDICTIONS }),
        this.#rest.get("predictions/scores", { symbol }),
      ]);
      const score = scores.find(({ model }) => model === results[0]?.model) ?? null;
      return { rows: results, score, problem: "" };
    } catch (error) {
      return { rows: [], score: null, problem: error.message };
    }
  }

  /** A replay has bars of its last lap beyond its clock: those are of its future. */
  #clockOf(symbol) {
    const day = dayOf(this.#quotes.get(symbol)?.data ?? {});
    return day === null ? undefined : timeOf(day + DAY);
  }

  /** Unless it is being read: a reading that every update began again would have no end. */
  #again() {
    if (this.symbol !== null && this.#reading === null) this.open(this.symbol, this.candles.interval);
  }

  async #refresh() {
    if (this.symbol === null || document.hidden) return;
    if (this.#stale || this.candles.last === undefined) return void this.#again();
    const { candles } = this;
    const after = this.#confirmed - OVERLAP * INTERVALS[candles.interval];
    const range = { after: timeOf(after), before: this.#clockOf(this.symbol) };
    if (range.before <= range.after) return; // a replay has begun again, and is being read
    const query = { interval: candles.interval, source: candles.source, limit: BARS };
    const bars = await this.#bars({ ...query, ...range }).catch(() => null);
    if (bars === null || candles !== this.candles) return;
    this.#confirmed = candles.refresh(bars) ?? this.#confirmed;
    this.#on.changed("bars");
  }

  #quoted(update) {
    this.#quotes.set(update.symbol, update);
    if (update.symbol !== this.symbol) return;
    if (this.#reading !== null) this.#missed.push(update);
    const changed = this.candles.add(update);
    if (changed === "all") this.#outdated(update);
    else if (changed !== null) this.#on.changed(changed === "last" ? "last" : "bars");
    this.#on.quoted(update.symbol);
  }

  /** A correction is in the stored bars a moment later; a replay that begins again, at once. */
  #outdated({ data }) {
    if (data.corrects) this.#stale = true;
    else this.#again();
  }

  #predicted(update) {
    if (update.request_id === undefined) this.#predictions.set(update.symbol, update);
    if (update.symbol !== this.symbol) return;
    this.forecasts.add(update, this.candles);
    this.score = update.data.score ? { model: update.data.model, ...update.data.score } : this.score;
    if (update.request_id) this.#requested.set(this.symbol, this.forecasts.requested);
    this.#on.changed("forecasts");
  }

  #resolved(outcome) {
    if (outcome.symbol !== this.symbol) return;
    this.forecasts.resolve(outcome);
    this.#on.changed("forecasts");
  }
}

function timeOf(seconds) {
  return new Date(seconds * 1000).toISOString();
}
