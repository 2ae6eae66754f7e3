// One symbol: its price and its latest prediction. Messages only change the state; `render()` draws
// it, as often as somebody can read it.

import { commandFor } from "./commands.js";
import { setText } from "./dom.js";
import { areaPath, linePath, placesOnBar, withTrade } from "./drawings.js";
import * as format from "./format.js";
import { answerText, held, lately, outcomeText } from "./score.js";

const POINTS = 120; // prices in the small chart
const PRICE_EVERY_MS = 100;
const DETAILS_EVERY_MS = 300; // the small chart, and all that is not the price

export class SymbolCard {
  #trades = []; // of the small chart: price, and id if it has one
  #quote = null; // `data` of the newest market_data_update
  #quoteTime = null;
  #prediction = null; // the newest prediction_update
  #outcome = null; // the newest prediction_outcome
  #drawn = null; // the price on the screen
  #flashes = 0;
  #dirty = false;
  #priceAt = -Infinity;
  #detailsAt = -Infinity;
  /** Is it on the screen? Others are not drawn. */
  visible = true;
  #parts;

  /** `actions`: { name: function of the card }, for its buttons with `data-do="name"`. `onChange`:
   * something is to be drawn. */
  constructor(symbol, { actions, onChange }) {
    this.symbol = symbol;
    this.onChange = onChange;
    const template = document.getElementById("card");
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.symbol = symbol;
    this.#parts = new Map();
    for (const part of this.element.querySelectorAll("[data-part], [data-value], [data-chip]")) {
      this.#parts.set(part.dataset.part ?? part.dataset.value ?? part.dataset.chip, part);
    }
    this.element.querySelector("h3").textContent = symbol;
    this.element.querySelector(".command code").textContent = commandFor(
      symbol,
      document.body.dataset.python,
    );
    for (const button of this.element.querySelectorAll("[data-do]")) {
      button.setAttribute("aria-label", `${button.dataset.label} ${symbol}`);
      button.addEventListener("click", () => actions[button.dataset.do](this));
    }
  }

  /** The `source` that the newest price names, such as `replay`. */
  get source() {
    return this.#quote?.source ?? null;
  }

  /** The newest one; undefined before there is one. */
  get price() {
    return this.#quote?.price;
  }

  get barDate() {
    return this.#quote?.bar_date ?? null;
  }

  applyMarketData({ data, timestamp }) {
    // A replay that begins again is not a crash from the last price to the first.
    if (data.bar_date < this.#quote?.bar_date) this.#trades = [];
    this.#quote = data;
    this.#quoteTime = timestamp;
    this.#trades = withTrade(this.#trades, data).slice(-POINTS);
    this.#changed();
  }

  applyPrediction(message) {
    // An answer to a request is beside its button, and does not take the place of the feed's.
    if (message.request_id !== undefined && this.#prediction !== null) return;
    this.#prediction = message;
    this.#changed();
  }

  applyOutcome(message) {
    this.#outcome = message;
    this.#changed();
  }

  applyStreamStatus({ state, last_update: lastUpdate }) {
    const since = lastUpdate ? ` since ${format.timeOfDay(lastUpdate)}` : "";
    this.#chip("stale", state === "stale" ? `No update${since}` : null);
  }

  /** Beside the button: how a request goes. */
  showRequest(text, { busy = false, failed = false, prediction = null } = {}) {
    const note = this.#parts.get("request");
    note.textContent = prediction === null ? text : joined(answerText(prediction.data), text);
    note.classList.toggle("problem", failed);
    this.element.querySelector('[data-do="predict"]').disabled = busy;
  }

  /** Is there nothing left to draw? `now` is the time of the frame. */
  render(now) {
    if (!this.#dirty || !this.visible) return true;
    if (now - this.#priceAt < PRICE_EVERY_MS) return false;
    this.#priceAt = now;
    if (this.#quote !== null) this.#renderPrice(this.#quote);
    if (now - this.#detailsAt < DETAILS_EVERY_MS) return false;
    this.#detailsAt = now;
    this.#dirty = false;
    if (this.#quote !== null) this.#renderQuote(this.#quote);
    if (this.#prediction !== null) this.#renderPrediction(this.#prediction);
    if (this.#outcome !== null) this.#renderOutcome(this.#outcome);
    return true;
  }

  #renderPrice(quote) {
    this.#show("quote", "no-quote");
    this.#flash(quote.price);
    this.#text("price", format.price(quote.price));
  }

  #renderQuote(quote) {
    const prices = this.#trades.map(({ price }) => price);
    const first = prices[0];
    const named = Number.isFinite(quote.change_percent);
    this.#change("change", named ? quote.change_percent : percentBetween(first, quote.price));
    this.#parts.get("change").title = named ? "since the previous close" : "since the first price";
    this.#text("volume", `Volume ${format.volume(quote.volume)}`);
    const { bar_date: day } = quote;
    this.#text("time", day ? format.date(day) : format.timeOfDay(this.#quoteTime));
    this.#parts.get("time").title = format.moment(this.#quoteTime);
    this.#chip("source", quote.source ?? null);
    this.element.querySelector(".spark-line").setAttribute("d", linePath(prices, 200, 40));
    this.element.querySelector(".spark-area").setAttribute("d", areaPath(prices, 200, 40));
    const low = format.price(Math.min(...prices));
    const high = format.price(Math.max(...prices));
    const label = `The last ${prices.length} prices, from ${low} to ${high}`;
    this.element.querySelector(".spark").setAttribute("aria-label", label);
  }

  #renderPrediction({ data, timestamp }) {
    this.#show("prediction", "no-prediction");
    const now = this.#quote?.price;
    this.#text("point", format.price(data.predicted_price));
    this.#change("expected", percentBetween(now, data.predicted_price));
    const bounded = Number.isFinite(data.lower_bound) && Number.isFinite(data.upper_bound);
    this.#text("lower", bounded ? format.price(data.lower_bound) : "no bounds given");
    this.#text("upper", bounded ? format.price(data.upper_bound) : "");
    this.#renderRange(data, now);
    const known = Number.isFinite(data.confidence);
    const confidence = known ? `${format.share(data.confidence)} confidence` : "";
    this.#text("confidence", joined(confidence, format.horizon(data.horizon)));
    this.#text("model", joined(data.model, format.timeOfDay(timestamp)));
    this.#renderScore(data.score);
  }

  /** How good this model was lately; a prediction that was not recorded carries no score. */
  #renderScore(score) {
    this.#parts.get("score").hidden = !score;
    if (!score) return;
    this.#text("held", held(score));
    this.#text("lately", lately(score));
  }

  #renderOutcome(outcome) {
    const element = this.#parts.get("outcome");
    element.hidden = false;
    element.textContent = outcomeText(outcome);
    element.classList.toggle("missed", !outcome.within_bounds);
  }

  #renderRange({ predicted_price: point, lower_bound: lower, upper_bound: upper }, now) {
    const at = placesOnBar({ lower, upper, point, now });
    const place = (name, attribute, value) => {
      const mark = this.element.querySelector(`.range-${name}`);
      mark.toggleAttribute("hidden", value === undefined);
      if (value !== undefined) mark.setAttribute(attribute, `${value}%`);
    };
    place("band", "x", at.lower === undefined || at.upper === undefined ? undefined : at.lower);
    place("band", "width", at.upper - at.lower || undefined);
    place("point", "x", at.point);
    place("now", "cx", at.now);
    const bounds = `between ${format.price(lower)} and ${format.price(upper)}`;
    const label = `Predicted ${format.price(point)}, ${bounds}; the price is ${format.price(now)}`;
    this.element.querySelector(".range").setAttribute("aria-label", label);
  }

  /** A short change of background; the arrow beside the price says the same without colour. */
  #flash(price) {
    const before = this.#drawn;
    this.#drawn = price;
    if (before === null || before === price) return;
    // Two names of the same animation, in turn: a new name starts it again without a layout.
    this.#flashes += 1;
    const direction = price > before ? "up" : "down";
    this.#parts.get("price").dataset.flash = `${direction}-${this.#flashes % 2}`;
  }

  #change(name, percent) {
    const element = this.#parts.get(name);
    setText(element, format.change(percent));
    const direction = format.direction(percent);
    element.classList.toggle("rise", direction > 0);
    element.classList.toggle("fall", direction < 0);
  }

  #chip(name, text) {
    const chip = this.#parts.get(name);
    chip.hidden = text === null;
    setText(chip, text ?? "");
  }

  #show(part, instead) {
    this.#parts.get(part).hidden = false;
    this.#parts.get(instead).hidden = true;
  }

  #text(name, text) {
    setText(this.#parts.get(name), text);
  }

  #changed() {
    this.#dirty = true;
    this.onChange();
  }
}

function percentBetween(before, after) {
  return before > 0 ? (after / before - 1) * 100 : NaN;
}

function joined(...texts) {
  return texts.filter(Boolean).join(" · ");
}
