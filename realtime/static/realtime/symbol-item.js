// What a card and a row have in common: the texts about one symbol, drawn as often as somebody can
// read them.

import { fromTemplate, setText } from "./dom.js";
import * as format from "./format.js";

const DETAILS_EVERY_MS = 300; // the small chart, and all that is not the price

export class SymbolItem {
  #drawn = null; // the price on the screen
  #flashes = 0;
  #detailsAt = -Infinity;
  /** Has the state changed since it was drawn? */
  dirty = true;
  /** Is it on the screen? Others are not drawn. */
  visible = true;
  parts = new Map();

  /** `template`: its id; `actions`: { name: function of the state }, for buttons with `data-do="name"`. */
  constructor(template, state, actions) {
    this.state = state;
    this.element = fromTemplate(template);
    this.element.dataset.symbol = state.symbol;
    for (const part of this.element.querySelectorAll("[data-part], [data-value], [data-chip]")) {
      this.parts.set(part.dataset.part ?? part.dataset.value ?? part.dataset.chip, part);
    }
    this.text("symbol", state.symbol);
    for (const button of this.element.querySelectorAll("[data-do]")) {
      button.setAttribute("aria-label", `${button.dataset.label} ${state.symbol}`);
      button.addEventListener("click", () => actions[button.dataset.do](state));
    }
  }

  /** The price, and now and then the rest. Is there nothing left to draw? */
  render(now) {
    if (!this.dirty || !this.visible) return true;
    if (this.state.quote !== null) this.renderPrice(this.state.quote);
    if (now - this.#detailsAt < DETAILS_EVERY_MS) return false;
    this.#detailsAt = now;
    this.dirty = false;
    this.renderDetails(this.state);
    return true;
  }

  renderPrice({ price }) {
    this.#flash(price);
    this.text("price", format.price(price));
  }

  renderDetails({ quote, prediction, quietSince }) {
    const since = quietSince ? ` since ${format.timeOfDay(quietSince)}` : "";
    this.#chip("stale", quietSince === null ? null : `No update${since}`);
    if (quote !== null) this.renderQuote(quote);
    if (prediction !== null) this.renderPrediction(prediction);
  }

  renderQuote({ source, bar_date: day }) {
    const { change, namesChange, quoteTime } = this.state;
    this.change("change", change);
    this.parts.get("change").title = namesChange ? "since the previous close" : "since the first price";
    this.text("time", day ? format.date(day) : format.timeOfDay(quoteTime));
    this.parts.get("time").title = format.moment(quoteTime);
    this.#chip("source", source ?? null);
  }

  renderPrediction({ data }) {
    this.text("point", format.price(data.predicted_price));
    this.change("expected", format.percentBetween(this.state.price, data.predicted_price));
  }

  /** A short change of background; the arrow beside the price says the same without colour. */
  #flash(price) {
    const before = this.#drawn;
    this.#drawn = price;
    if (before === null || before === price) return;
    // Two names of the same animation, in turn: a new name starts it again without a layout.
    this.#flashes += 1;
    const direction = price > before ? "up" : "down";
    this.parts.get("price").dataset.flash = `${direction}-${this.#flashes % 2}`;
  }

  change(name, percent) {
    const element = this.parts.get(name);
    setText(element, format.change(percent));
    const direction = format.direction(percent);
    element.classList.toggle("rise", direction > 0);
    element.classList.toggle("fall", direction < 0);
  }

  #chip(name, text) {
    this.parts.get(name).hidden = text === null;
    this.text(name, text ?? "");
  }

  text(name, text) {
    setText(this.parts.get(name), text);
  }
}
