// The cards, one for each symbol of the watchlist. Those that are off the screen are not drawn.

import { addCopyButtons } from "./commands.js";
import { setText } from "./dom.js";
import * as format from "./format.js";
import { SymbolCard } from "./symbol-card.js";

const REPLAY = "replay";
const BEYOND = "200px"; // that far outside the screen cards are drawn

export class SymbolCards {
  #list;
  #actions;
  #cards = new Map(); // symbol -> SymbolCard
  #frame = null;
  #watching;

  /** `actions`: { name: function of a card }, for the buttons with `data-do="name"`. */
  constructor(list, { market, predictions }, actions) {
    this.#list = list;
    this.#actions = actions;
    const on = (channel, type, apply) => {
      channel.addEventListener(type, ({ detail }) => {
        const card = this.#cards.get(detail.symbol);
        if (card !== undefined) apply(card, detail);
      });
    };
    on(market, "market_data_update", (card, update) => card.applyMarketData(update));
    on(market, "stream_status", (card, status) => card.applyStreamStatus(status));
    on(predictions, "prediction_update", (card, update) => card.applyPrediction(update));
    on(predictions, "prediction_outcome", (card, outcome) => card.applyOutcome(outcome));
    this.#watching = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: BEYOND });
    // Old prices are not to be taken for current ones.
    market.addEventListener("state", ({ detail }) => {
      list.dataset.live = detail.phase === "live" ? "yes" : "no";
    });
  }

  get symbols() {
    return [...this.#cards.keys()];
  }

  has(symbol) {
    return this.#cards.has(symbol);
  }

  add(symbol) {
    const card = new SymbolCard(symbol, { actions: this.#actions, onChange: () => this.#draw() });
    this.#cards.set(symbol, card);
    this.#list.querySelector("[data-add]").before(card.element);
    addCopyButtons(card.element);
    this.#watching.observe(card.element);
  }

  remove(symbol) {
    const { element } = this.#cards.get(symbol);
    this.#watching.unobserve(element);
    element.remove();
    this.#cards.delete(symbol);
    this.#draw();
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const card = this.#cards.get(target.dataset.symbol);
      if (card !== undefined) card.visible = isIntersecting;
    }
    this.#draw();
  }

  #draw() {
    this.#frame ??= requestAnimationFrame((now) => {
      this.#frame = null;
      const left = [...this.#cards.values()].filter((card) => !card.render(now));
      if (left.length > 0) this.#draw();
      else this.#drawReplay();
    });
  }

  #drawReplay() {
    const replayed = [...this.#cards.values()].filter((card) => card.source === REPLAY);
    document.querySelector("[data-replay]").hidden = replayed.length === 0;
    const day = replayed.map((card) => card.barDate).filter(Boolean).sort().at(-1);
    const text = day ? `now at ${format.date(day)}` : "";
    setText(document.querySelector("[data-replay-day]"), text);
  }
}
