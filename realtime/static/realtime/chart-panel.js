// The detail of one symbol, opened from its card: its chart, its predictions, and the words for both.

import { ChartFeed } from "./chart/feed.js";
import { placed } from "./chart/forecasts.js";
import { listenToKeys } from "./chart/keys.js";
import { coloursFor } from "./chart/looks.js";
import * as text from "./chart/text.js";
import { createView } from "./chart/view.js";
import { commandFor } from "./commands.js";

const SUMMARY_MS = 1000;

export class ChartPanel {
  symbol = null; // the one on the screen
  #element;
  #feed;
  #view = null; // once the library is there
  #opening = null; // the promise of it
  #interval = null; // that was chosen
  #clock = null; // null: nothing is shown yet
  #changed = new Set(); // what is to be drawn
  #frame = null;
  #placed = { current: null, requested: null, outcomes: [] };

  /** `page`: see dashboard.js; `requests`: see prediction-requests.js. */
  constructor(element, { requests, ...page }) {
    this.#element = element;
    this.#feed = new ChartFeed(page, {
      loaded: (problem) => this.#loaded(problem),
      changed: (what) => this.#draw(what),
      quoted: () => this.#follow(),
      failed: (message) => this.#fail(message),
    });
    this.#listen(requests);
    setInterval(() => this.#summarise(), SUMMARY_MS);
  }

  open(symbol) {
    this.#show(symbol);
    this.#part("title").focus();
    this.#element.scrollIntoView({ block: "nearest" });
    this.#remember();
  }

  /** The one that the address of the page names, if it is a symbol that the page has. */
  openNamed(isHere) {
    const symbol = new URL(location.href).searchParams.get("chart");
    if (symbol !== null && isHere(symbol)) this.#show(symbol);
  }

  close() {
    const { symbol } = this;
    this.symbol = null;
    this.#feed.close();
    this.#element.hidden = true;
    this.#remember();
    document.querySelector(`[data-symbol="${CSS.escape(symbol)}"] [data-do="chart"]`)?.focus();
  }

  /** Another user looks at this page: what was read for the last one is not shown to them. */
  userChanged() {
    if (this.symbol !== null) this.#read();
  }

  #show(symbol) {
    this.symbol = symbol;
    this.#interval = null;
    this.#element.hidden = false;
    this.#part("title").textContent = symbol;
    this.#part("answer").textContent = "";
    this.#read();
  }

  // Reading -------------------------------------------------------------------------------------

  #part(name) {
    return this.#element.querySelector(`[data-chart-part="${name}"]`);
  }

  get #wanted() {
    return this.#interval ?? (this.#feed.isDaily(this.symbol) === false ? "1m" : "1d");
  }

  async #read() {
    this.#clock = null;
    this.#choose("interval", this.#wanted);
    this.#part("problem").textContent = "";
    this.#element.dataset.state = "loading";
    this.#opening ??= createView(this.#part("plot"), {
      inspect: (candle) => this.#inspect(candle),
      reachStart: () => this.#feed.readOlder(),
    });
    try {
      this.#view = await this.#opening;
    } catch {
      this.#opening = null;
      return this.#fail("The chart cannot be loaded. Is the server away?");
    }
    return this.symbol && this.#feed.open(this.symbol, this.#wanted);
  }

  /** The first price tells whether the bars of this symbol are days. */
  #follow() {
    if (this.#feed.candles.interval !== this.#wanted && this.#view) this.#read();
  }

  #loaded(problem) {
    const { candles, score } = this.#feed;
    this.#part("problem").textContent = problem;
    this.#clock = text.clockOf(candles.interval);
    this.#view.paint(coloursFor(this.#part("plot")));
    this.#view.show(candles, this.#kind, this.#clock);
    this.#part("zone").textContent = this.#clock.note(candles.last?.time ?? Date.now() / 1000);
    this.#part("score").textContent = text.scoreText(score);
    this.#draw("forecasts");
  }

  #fail(message) {
    this.#element.dataset.state = "failed";
    this.#part("problem").textContent = message;
  }

  // Drawing -------------------------------------------------------------------------------------

  #draw(what) {
    if (this.#clock === null) return; // everything will be drawn
    this.#changed.add(what);
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      if (this.#clock !== null) this.#drawNow();
    });
  }

  #drawNow() {
    const { candles } = this.#feed;
    if (this.#changed.has("bars")) this.#view.load(candles);
    else if (this.#changed.has("last")) this.#view.update(candles);
    if (this.#isPlaced()) this.#place();
    this.#changed.clear();
    this.#tell();
  }

  /** A new bar moves what is ahead of it, too. */
  #isPlaced() {
    const count = String(this.#feed.candles.all.length);
    return this.#changed.has("forecasts") || this.#element.dataset.bars !== count;
  }

  #place() {
    const { candles, forecasts, score } = this.#feed;
    const on = (forecast) => forecast && placed(forecast, candles);
    const outcomes = forecasts.outcomes(candles);
    this.#placed = { current: on(forecasts.current), requested: on(forecasts.requested), outcomes };
    this.#view.showForecasts({ ...this.#placed, nominal: score?.nominal });
    this.#part("score").textContent = text.scoreText(score);
    const said = (forecast, at) => (forecast ? text.forecastText(at ?? forecast, this.#clock) : "");
    this.#part("current").textContent = said(forecasts.current, this.#placed.current);
    this.#part("requested").textContent = said(forecasts.requested, this.#placed.requested);
    this.#part("asked").hidden = forecasts.requested === null;
  }

  /** The same in words and figures: for readers, and for scripts that look at this page. */
  #tell() {
    const { all, last, interval } = this.#feed.candles;
    const { current, outcomes } = this.#placed;
    const kept = outcomes.filter(({ within }) => within).length;
    Object.assign(this.#element.dataset, {
      state: last ? "live" : "empty",
      bars: all.length,
      lastTime: last ? new Date(last.time * 1000).toISOString() : "",
      lastClose: last?.close ?? "",
      band: current ? [current.lower, current.price, current.upper].join(" ") : "",
      outcomes: `${kept} of ${outcomes.length}`,
    });
    if (!last) this.#explain(interval);
    else if (!this.#part("legend").matches("[aria-live=polite]")) this.#inspect(null);
  }

  #explain(interval) {
    const daily = this.#feed.isDaily(this.symbol) === true;
    this.#part("why").textContent = text.emptyText(this.symbol, interval, { daily });
    this.#part("commands").hidden = daily && interval !== "1d";
    this.#part("command").textContent = commandFor(this.symbol, document.body.dataset.python);
  }

  #inspect(candle) {
    const shown = candle ?? this.#feed.candles.last;
    this.#part("legend").textContent = shown ? text.candleText(shown, this.#clock) : "";
  }

  #summarise() {
    if (this.symbol === null || this.#element.dataset.state !== "live") return;
    const { symbol } = this;
    const about = { symbol, candles: this.#feed.candles, clock: this.#clock, ...this.#placed };
    this.#part("summary").textContent = text.summaryOf(about);
  }

  // Choosing ------------------------------------------------------------------------------------

  get #kind() {
    return this.#element.querySelector("[name=chart-kind]:checked").value;
  }

  #choose(name, value) {
    this.#element.querySelector(`[name=chart-${name}][value="${value}"]`).checked = true;
  }

  #listen(requests) {
    this.#element.querySelector("[data-close]").addEventListener("click", () => this.close());
    this.#element.addEventListener("change", ({ target }) => {
      if (target.name === "chart-interval") this.#interval = target.value;
      if (target.name === "chart-interval") this.#read();
      if (target.name === "chart-kind") this.#loaded(this.#part("problem").textContent);
    });
    this.#part("request").addEventListener("submit", (event) => {
      event.preventDefault();
      const horizon = this.#part("request").elements.horizon.valueAsNumber;
      requests.request(this.symbol, (...how) => this.#showRequest(...how), horizon);
    });
    this.#part("dismiss").addEventListener("click", () => this.#feed.dismissRequested());
    listenToKeys(this.#part("plot"), this.#part("legend"), () => this.#view);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#repaint());
    document.addEventListener("rule-firings", ({ detail }) => this.#showFirings(detail));
  }

  #showRequest(message, { busy = false, failed = false } = {}) {
    this.#part("answer").textContent = message;
    this.#part("answer").classList.toggle("problem", failed);
    this.#part("request").querySelector("button").disabled = busy;
  }

  #showFirings({ symbol, firings }) {
    if (symbol === this.symbol && this.#view) this.#view.showFirings(firings, this.#feed.candles);
  }

  #repaint() {
    if (this.symbol !== null && this.#view) this.#loaded(this.#part("problem").textContent);
  }

  /** A link to this page opens the same chart. */
  #remember() {
    const url = new URL(location.href);
    if (this.symbol === null) url.searchParams.delete("chart");
    else url.searchParams.set("chart", this.symbol);
    history.replaceState(history.state, "", url);
  }
}
