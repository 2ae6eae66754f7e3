// Brings what the feed knows onto the screen, once per frame at most.

import { firingsOn } from "./firings.js";
import { placed } from "./forecasts.js";
import { coloursFor } from "./looks.js";
import { clockOf, firingsText } from "./text.js";
import { createView } from "./view.js";

const SUMMARY_MS = 1000;
const NOTHING = { current: null, requested: null, outcomes: [] };

export class Drawing {
  /** See view.js; null until the library is there. */
  view = null;
  #feed;
  #words;
  #loading = null; // the promise of the view
  #shown = false;
  #changed = new Set(); // what is to be drawn
  #frame = null;
  #bars = 0; // when predictions were placed
  #placed = NOTHING;
  #firings = new Map(); // symbol -> firings of the rule that was tried last

  constructor(feed, words) {
    this.#feed = feed;
    this.#words = words;
    setInterval(() => {
      if (this.#shown && feed.symbol !== null) words.summarise(feed, this.#placed);
    }, SUMMARY_MS);
  }

  /** Loads the library, if it is not there; throws if it does not come. */
  async prepare() {
    this.#loading ??= createView(this.#words.part("plot"), {
      inspect: (candle) => this.#words.inspect(candle),
      reachStart: () => this.#feed.readOlder(),
    });
    try {
      this.view = await this.#loading;
    } catch (error) {
      this.#loading = null;
      throw error;
    }
  }

  /** Another symbol or interval: nothing is drawn before its bars are there. */
  clear() {
    this.#shown = false;
    this.#placed = NOTHING;
    this.#words.clear();
  }

  /** Everything, as "candles" or a "line". What is seen of it stays, unless it was cleared. */
  show(kind) {
    const { candles } = this.#feed;
    const clock = clockOf(candles.interval);
    this.view.paint(coloursFor(this.#words.part("plot")));
    this.view.show(candles, { kind, clock, fit: !this.#shown });
    this.#words.begin(clock, candles);
    this.#shown = true;
    this.draw("forecasts");
    this.#mark();
  }

  fail(message) {
    if (this.#shown) this.#words.problem = message;
    else this.#words.fail(message);
  }

  /** `what` has changed: "last", the last candle; "bars", others; "forecasts". */
  draw(what) {
    this.#changed.add(what);
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      if (this.#shown && this.#feed.symbol !== null) this.#drawNow();
      this.#changed.clear();
    });
  }

  /** Marks when a rule would have fired; without a symbol: no longer. */
  mark({ symbol, firings }) {
    if (symbol === null) this.#firings.clear();
    else this.#firings.set(symbol, firings);
    if (this.#shown) this.#mark();
  }

  forget() {
    this.#firings.clear();
  }

  // ---------------------------------------------------------------------------------------------

  #drawNow() {
    const { candles } = this.#feed;
    if (this.#changed.has("bars")) this.view.load(candles);
    else if (this.#changed.has("last")) this.view.update(candles);
    // A new bar moves what is ahead of it, too.
    if (this.#changed.has("forecasts") || this.#bars !== candles.all.length) this.#place();
    this.#words.tell(this.#feed, this.#placed);
  }

  #place() {
    const { candles, forecasts, score } = this.#feed;
    const on = (forecast) => forecast && placed(forecast, candles);
    const [current, requested] = [on(forecasts.current), on(forecasts.requested)];
    this.#bars = candles.all.length;
    this.#placed = { current, requested, outcomes: forecasts.outcomes(candles) };
    this.view.showForecasts({ ...this.#placed, nominal: score?.nominal });
    this.#words.forecasts(this.#feed, this.#placed);
  }

  #mark() {
    const firings = this.#firings.get(this.#feed.symbol) ?? [];
    const marks = firingsOn(firings, this.#feed.candles);
    this.view.showFirings(marks);
    this.#words.part("marked").textContent = firingsText(firings.length, marks);
  }
}
