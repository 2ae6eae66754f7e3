// What stands around the drawing, in words and figures: for readers, and for scripts that look at
// the page.

import { commandFor } from "../commands.js";
import * as text from "./text.js";

export class Words {
  #element;
  #clock = null;
  #zone = "";
  #last = null; // the candle of the moment
  #chosen = null; // the one that somebody points at

  constructor(element) {
    this.#element = element;
  }

  part(name) {
    return this.#element.querySelector(`[data-chart-part="${name}"]`);
  }

  get problem() {
    return this.part("problem").textContent;
  }

  set problem(message) {
    this.part("problem").textContent = message;
  }

  /** Nothing is known of what has been asked for. */
  clear() {
    this.#element.dataset.state = "loading";
    this.#last = this.#chosen = null;
    for (const name of ["problem", "legend", "current", "requested", "score", "summary", "marked", "read"]) {
      this.part(name).textContent = "";
    }
    this.part("asked").hidden = true;
  }

  begin(clock, { last }) {
    this.#clock = clock;
    this.#zone = clock.note(last?.time ?? Date.now() / 1000);
  }

  fail(message) {
    this.#element.dataset.state = "failed";
    this.problem = message;
  }

  /** `placed`: { current, requested, outcomes } on the candles. */
  forecasts({ forecasts, score }, placed) {
    for (const name of ["current", "requested"]) {
      const forecast = placed[name] ?? forecasts[name];
      this.part(name).textContent = text.forecastText(forecast, this.#clock);
    }
    this.part("asked").hidden = forecasts.requested === null;
    this.part("score").textContent = text.scoreText(score);
  }

  tell(feed, { current, outcomes }) {
    const { candles, symbol } = feed;
    const { all, last, interval } = candles;
    const kept = outcomes.filter(({ within }) => within).length;
    Object.assign(this.#element.dataset, {
      state: last ? "live" : "empty",
      bars: all.length,
      lastTime: last ? new Date(last.time * 1000).toISOString() : "",
      lastClose: last?.close ?? "",
      band: current ? [current.lower, current.price, current.upper].join(" ") : "",
      outcomes: `${kept} of ${outcomes.length}`,
    });
    this.part("zone").textContent = `${this.#zone}${text.sourceText(candles.source)}`;
    this.#last = last ?? null;
    this.#tellCandle();
    if (!last) this.#explain(symbol, interval, feed.isDaily() === true);
  }

  /** The candle that somebody points at; null for the last one. */
  inspect(candle) {
    this.#chosen = candle;
    this.#tellCandle();
  }

  summarise({ symbol, candles }, placed) {
    const summary = text.summaryOf({ symbol, candles, clock: this.#clock, ...placed });
    if (this.part("summary").textContent !== summary) this.part("summary").textContent = summary;
  }

  #tellCandle() {
    const candle = this.#chosen ?? this.#last;
    if (candle !== null) this.part("legend").textContent = text.candleText(candle, this.#clock);
  }

  #explain(symbol, interval, daily) {
    this.part("why").textContent = text.emptyText(symbol, interval, { daily });
    this.part("commands").hidden = daily && interval !== "1d";
    this.part("command").textContent = commandFor(symbol, document.body.dataset.python);
  }
}
