// What is known of one symbol: its newest price, prediction and outcome, however they are shown.

import { withTrade } from "./drawings.js";
import { percentBetween } from "./format.js";

const POINTS = 120; // prices in the small chart

export class SymbolState {
  trades = []; // of the small chart: price, and id if it has one
  quote = null; // `data` of the newest market_data_update
  quoteTime = null;
  prediction = null; // the newest prediction_update
  outcome = null; // the newest prediction_outcome
  quietSince = null; // the last update before the stream became stale; "" where there was none
  request = { text: "" }; // how a requested prediction goes
  #onChange;

  constructor(symbol, onChange) {
    this.symbol = symbol;
    this.#onChange = onChange;
  }

  /** The `source` that the newest price names, such as `replay`. */
  get source() {
    return this.quote?.source ?? null;
  }

  /** The newest one; undefined before there is one. */
  get price() {
    return this.quote?.price;
  }

  get barDate() {
    return this.quote?.bar_date ?? null;
  }

  /** Does the publisher say by how much the price has changed? */
  get namesChange() {
    return Number.isFinite(this.quote?.change_percent);
  }

  /** In percent: what the publisher says, else since the first price here. */
  get change() {
    return this.namesChange ? this.quote.change_percent : percentBetween(this.trades[0]?.price, this.price);
  }

  applyMarketData({ data, timestamp }) {
    // A replay that begins again is not a crash from the last price to the first.
    if (data.bar_date < this.quote?.bar_date) this.trades = [];
    this.quote = data;
    this.quoteTime = timestamp;
    this.trades = withTrade(this.trades, data).slice(-POINTS);
    this.#onChange(this);
  }

  applyPrediction(message) {
    // An answer to a request is beside its button, and does not take the place of the feed's.
    if (message.request_id !== undefined && this.prediction !== null) return;
    this.prediction = message;
    this.#onChange(this);
  }

  applyOutcome(message) {
    this.outcome = message;
    this.#onChange(this);
  }

  applyStreamStatus({ state, last_update: lastUpdate }) {
    this.quietSince = state === "stale" ? (lastUpdate ?? "") : null;
    this.#onChange(this);
  }

  applyRequest(text, about) {
    this.request = { text, ...about };
    this.#onChange(this);
  }
}
