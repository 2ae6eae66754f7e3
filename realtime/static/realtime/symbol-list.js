// The symbols of the watchlist, as cards or as rows of a table. What is off the screen is not drawn.

import { addCopyButtons } from "./commands.js";
import { setText } from "./dom.js";
import * as format from "./format.js";
import { ListControls } from "./list-controls.js";
import { SymbolCard } from "./symbol-card.js";
import { sorted } from "./symbol-order.js";
import { SymbolRow } from "./symbol-row.js";
import { SymbolState } from "./symbol-state.js";

const REPLAY = "replay";
const BEYOND = "200px"; // that far outside the screen items are drawn
const DRAW_EVERY_MS = 100; // all at once: a frame for each symbol costs a layout for each
const SORT_EVERY_MS = 2_000;

export class SymbolList {
  #element;
  #actions;
  #controls;
  #states = new Map(); // symbol -> SymbolState, as they were added
  #expected = new Map(); // the same, of symbols that are not shown yet
  #items = new Map(); // symbol -> SymbolCard or SymbolRow
  #isDue = false; // a drawing
  #drawnAt = -Infinity;
  #sorting = null; // the timer
  #watching;

  /** `element`: the section; `actions`: { name: function of a state }, for buttons with `data-do`. */
  constructor(element, { market, predictions }, actions) {
    this.#element = element;
    this.#actions = actions;
    this.#watching = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: BEYOND });
    this.#controls = new ListControls(element, {
      onView: () => this.#changeView(),
      onOrder: () => this.#sort(),
    });
    this.#listen(market, predictions);
  }

  #listen(market, predictions) {
    const on = (channel, type, apply) => {
      channel.addEventListener(type, ({ detail }) => {
        const state = this.#states.get(detail.symbol) ?? this.#expected.get(detail.symbol);
        if (state !== undefined) apply(state, detail);
      });
    };
    on(market, "market_data_update", (state, update) => state.applyMarketData(update));
    on(market, "stream_status", (state, status) => state.applyStreamStatus(status));
    on(predictions, "prediction_update", (state, update) => state.applyPrediction(update));
    on(predictions, "prediction_outcome", (state, outcome) => state.applyOutcome(outcome));
    // Old prices are not to be taken for current ones.
    market.addEventListener("state", ({ detail }) => {
      this.#element.dataset.live = detail.phase === "live" ? "yes" : "no";
    });
  }

  get symbols() {
    return [...this.#states.keys()];
  }

  has(symbol) {
    return this.#states.has(symbol);
  }

  /** Keep what comes of a symbol until it is added, or forgotten. */
  expect(symbol) {
    this.#expected.set(symbol, this.#newState(symbol));
  }

  forget(symbol) {
    this.#expected.delete(symbol);
  }

  add(symbol) {
    const state = this.#expected.get(symbol) ?? this.#newState(symbol);
    this.forget(symbol);
    this.#states.set(symbol, state);
    this.#show(state);
    this.#sort();
  }

  #newState(symbol) {
    return new SymbolState(symbol, (changed) => this.#changed(changed));
  }

  remove(symbol) {
    this.#hide(symbol);
    this.#states.delete(symbol);
    this.#draw();
  }

  // Items -----------------------------------------------------------------------------------------

  get #isTable() {
    return this.#controls.view === "table";
  }

  #show(state) {
    const item = new (this.#isTable ? SymbolRow : SymbolCard)(state, this.#actions);
    this.#items.set(state.symbol, item);
    this.#place(item.element);
    addCopyButtons(item.element);
    this.#watching.observe(item.element);
    this.#draw();
  }

  /** At the end. */
  #place(element) {
    const part = (selector) => this.#element.querySelector(selector);
    if (this.#isTable) part("[data-rows]").append(element);
    else part("[data-add]").before(element);
  }

  #hide(symbol) {
    const { element } = this.#items.get(symbol);
    this.#watching.unobserve(element);
    element.remove();
    this.#items.delete(symbol);
  }

  #changeView() {
    for (const symbol of this.#items.keys()) this.#hide(symbol);
    for (const state of this.#states.values()) this.#show(state);
    this.#sort();
    this.#draw();
  }

  // Order -----------------------------------------------------------------------------------------

  #sort() {
    const wanted = sorted([...this.#states.values()], this.#controls.order);
    const elements = wanted.map(({ symbol }) => this.#items.get(symbol).element);
    const stands = [...this.#element.querySelectorAll("[data-symbol]")];
    if (elements.some((element, index) => element !== stands[index])) elements.forEach((each) => this.#place(each));
  }

  /** Again in a while. What somebody points at or has the focus in does not move. */
  #sortSoon() {
    if (this.#controls.order === "") return;
    this.#sorting ??= setTimeout(() => {
      this.#sorting = null;
      if (this.#element.querySelector("[data-symbol]:is(:hover, :focus-within)")) this.#sortSoon();
      else this.#sort();
    }, SORT_EVERY_MS);
  }

  // Drawing ---------------------------------------------------------------------------------------

  #changed({ symbol }) {
    const item = this.#items.get(symbol);
    if (item === undefined) return;
    item.dirty = true;
    this.#draw();
    this.#sortSoon();
  }

  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const item = this.#items.get(target.dataset.symbol);
      if (item?.element === target) item.visible = isIntersecting;
    }
    this.#draw();
  }

  #draw() {
    if (this.#isDue) return;
    this.#isDue = true;
    const wait = this.#drawnAt + DRAW_EVERY_MS - performance.now();
    setTimeout(() => requestAnimationFrame(() => this.#drawNow()), Math.max(0, wait));
  }

  #drawNow() {
    this.#isDue = false;
    const now = (this.#drawnAt = performance.now());
    const left = [...this.#items.values()].filter((item) => !item.render(now));
    if (left.length > 0) this.#draw();
    else this.#drawReplay();
  }

  #drawReplay() {
    const replayed = [...this.#states.values()].filter((state) => state.source === REPLAY);
    document.querySelector("[data-replay]").hidden = replayed.length === 0;
    const day = replayed.map((state) => state.barDate).filter(Boolean).sort().at(-1);
    const text = day ? `now at ${format.date(day)}` : "";
    setText(document.querySelector("[data-replay-day]"), text);
  }
}
