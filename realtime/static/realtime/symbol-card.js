// One symbol as a card: its price and its newest prediction, with their small drawings.

import { commandFor } from "./commands.js";
import { areaPath, linePath, placesOnBar } from "./drawings.js";
import * as format from "./format.js";
import { answerText, held, lately, outcomeText } from "./score.js";
import { SymbolItem } from "./symbol-item.js";

export class SymbolCard extends SymbolItem {
  constructor(state, actions) {
    super("card", state, actions);
    this.element.querySelector(".command code").textContent = commandFor(
      state.symbol,
      document.body.dataset.python,
    );
  }

  renderPrice(quote) {
    this.#show("quote", "no-quote");
    super.renderPrice(quote);
  }

  renderDetails(state) {
    super.renderDetails(state);
    if (state.outcome !== null) this.#renderOutcome(state.outcome);
    this.#renderRequest(state.request);
  }

  renderQuote(quote) {
    super.renderQuote(quote);
    this.text("volume", `Volume ${format.volume(quote.volume)}`);
    const prices = this.state.trades.map(({ price }) => price);
    this.element.querySelector(".spark-line").setAttribute("d", linePath(prices, 200, 40));
    this.element.querySelector(".spark-area").setAttribute("d", areaPath(prices, 200, 40));
    const low = format.price(Math.min(...prices));
    const high = format.price(Math.max(...prices));
    const label = `The last ${prices.length} prices, from ${low} to ${high}`;
    this.element.querySelector(".spark").setAttribute("aria-label", label);
  }

  renderPrediction(prediction) {
    const { data, timestamp } = prediction;
    this.#show("prediction", "no-prediction");
    super.renderPrediction(prediction);
    const bounded = Number.isFinite(data.lower_bound) && Number.isFinite(data.upper_bound);
    this.text("lower", bounded ? format.price(data.lower_bound) : "no bounds given");
    this.text("upper", bounded ? format.price(data.upper_bound) : "");
    this.#renderRange(data, this.state.price);
    const known = Number.isFinite(data.confidence);
    const confidence = known ? `${format.share(data.confidence)} confidence` : "";
    this.text("confidence", joined(confidence, format.horizon(data.horizon)));
    this.text("model", joined(data.model, format.timeOfDay(timestamp)));
    this.#renderScore(data.score);
  }

  /** How good this model was lately; a prediction that was not recorded carries no score. */
  #renderScore(score) {
    this.parts.get("score").hidden = !score;
    if (!score) return;
    this.text("held", held(score));
    this.text("lately", lately(score));
  }

  #renderOutcome(outcome) {
    const element = this.parts.get("outcome");
    element.hidden = false;
    this.text("outcome", outcomeText(outcome));
    element.classList.toggle("missed", !outcome.within_bounds);
  }

  /** Beside the button: how a request goes. */
  #renderRequest({ text, busy = false, failed = false, prediction = null }) {
    this.text("request", prediction === null ? text : joined(answerText(prediction.data), text));
    this.parts.get("request").classList.toggle("problem", failed);
    this.element.querySelector('[data-do="predict"]').disabled = busy;
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

  #show(part, instead) {
    this.parts.get(part).hidden = false;
    this.parts.get(instead).hidden = true;
  }
}

function joined(...texts) {
  return texts.filter(Boolean).join(" · ");
}
