// The drawing: candles or a line, volume, predictions, marks, and the score in a pane below.

import { Bands } from "./bands.js";
import { scoreOverTime } from "./forecasts.js";
import * as looks from "./looks.js";

const PIXELS = 12; // of a bar at first
const ROOM = 3; // empty bars at the right

/** The library comes when the first chart is opened. */
export async function createView(container, on) {
  const library = await import("../vendor/lightweight-charts/lightweight-charts.js");
  return new View(library, container, on);
}

class View {
  #library;
  #chart;
  #clock;
  #main = null; // the series of prices
  #kind = null;
  #volume;
  #ahead; // times without a candle, so that predictions have a place
  #score = null; // the series in the pane below, where there is one
  #nominal = null;
  #bands = new Bands();
  #firings = null;
  #candles = [];
  #labels = [];
  #chosen = null; // the candle that the keys have chosen
  #on;
  #colors;

  /** `on`: { inspect(candle or null), reachStart() }. */
  constructor(library, container, on) {
    this.#library = library;
    this.#on = on;
    const times = new (timesOf(library, () => this.#clock))();
    this.#chart = library.createChartEx(container, times, looks.behaviour());
    const { HistogramSeries, LineSeries } = library;
    const unlabelled = { priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false };
    const below = { ...unlabelled, priceScaleId: "volume", priceFormat: { type: "volume" } };
    this.#volume = this.#chart.addSeries(HistogramSeries, below);
    this.#volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#ahead = this.#chart.addSeries(LineSeries, { ...unlabelled, priceScaleId: "ahead" });
    this.#chart.subscribeCrosshairMove(({ time }) => {
      if (this.#chosen === null) on.inspect(this.#candleAt(time));
    });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < 5) on.reachStart();
    });
  }

  /** Everything: `kind` is "candles" or "line", `fit`: scroll to the end. */
  show(candles, { kind, clock, fit }) {
    this.#clock = clock;
    this.#chart.applyOptions(looks.timesIn(clock));
    if (kind !== this.#kind) this.#change(kind);
    if (fit) this.#ahead.setData([]); // times of another chart
    this.load(candles);
    if (fit) this.#fit(this.#candles);
  }

  #fit({ length }) {
    const shown = Math.max(20, this.#chart.timeScale().width() / PIXELS);
    this.#chart.timeScale().setVisibleLogicalRange({ from: length + ROOM - shown, to: length + ROOM });
  }

  /** All candles once more. */
  load(candles) {
    this.#candles = candles.all;
    this.#main.applyOptions({ priceFormat: looks.priceFormatOf(candles.last) });
    this.#main.setData(this.#candles.map((candle) => this.#value(candle)));
    this.#volume.setData(this.#candles.map((candle) => this.#bar(candle)));
  }

  /** The last candle has changed, or there is a new one. */
  update(candles) {
    if (this.#candles !== candles.all) return this.load(candles);
    this.#main.update(this.#value(candles.last));
    this.#volume.update(this.#bar(candles.last));
    return this.#point();
  }

  /** `current` and `requested` are placed forecasts, or null. */
  showForecasts({ current, requested, outcomes, nominal }) {
    const { accent, asked, held, missed } = this.#colors;
    const fans = [[requested, asked, "requested"], [current, accent, "predicted"]];
    const known = fans.filter(([forecast]) => forecast);
    this.#showAhead(known.flatMap(([{ ahead }]) => ahead));
    this.#bands.show(known.map(([forecast, color]) => ({ forecast, color })), outcomes, { held, missed });
    for (const label of this.#labels) this.#main.removePriceLine(label);
    this.#labels = known.map(([{ price }, color, title]) =>
      this.#main.createPriceLine({ price, color, title, lineVisible: false, axisLabelVisible: true }));
    this.#showScore(scoreOverTime(outcomes), nominal);
  }

  /** When a rule would have fired: [{ time, count }], oldest first. */
  showFirings(firings) {
    const mark = { position: "aboveBar", shape: "arrowDown", color: this.#colors.fired };
    const textOf = (count) => (count > 1 ? `${count}×` : "");
    this.#firings.setMarkers(firings.map(({ time, count }) => ({ ...mark, time, text: textOf(count) })));
  }

  /** Colours from the style sheet: { text, muted, line, surface, accent, asked, rise, fall, … }. */
  paint(colors) {
    this.#colors = colors;
    this.#chart.applyOptions(looks.coloursOf(colors, this.#library));
    this.#score?.applyOptions({ color: colors.accent });
    if (this.#main) this.#main.applyOptions(looks.lookOf(this.#kind, colors));
  }

  // With the keys -------------------------------------------------------------------------------

  /** Choose the candle so many bars further, or the first or last one. */
  step(by) {
    const { length } = this.#candles;
    const before = this.#chosen === null ? length : this.#candles.indexOf(this.#chosen);
    const place = Math.min(length - 1, Math.max(0, before + by));
    if (length === 0) return;
    this.#chosen = this.#candles[place];
    this.#uncover(place);
    this.#point();
    this.#on.inspect(this.#chosen);
  }

  leave() {
    this.#chosen = null;
    this.#chart.clearCrosshairPosition();
    this.#on.inspect(null);
  }

  zoom(factor) {
    const scale = this.#chart.timeScale();
    const { from, to } = scale.getVisibleLogicalRange() ?? { from: 0, to: this.#candles.length };
    const width = Math.max(10, (to - from) * factor);
    scale.setVisibleLogicalRange({ from: to - width, to });
  }

  remove() {
    this.#chart.remove();
  }

  // ---------------------------------------------------------------------------------------------

  #change(kind) {
    if (this.#main) this.#chart.removeSeries(this.#main);
    const { CandlestickSeries, LineSeries, createSeriesMarkers } = this.#library;
    this.#kind = kind;
    this.#labels = [];
    this.#main = this.#chart.addSeries(kind === "line" ? LineSeries : CandlestickSeries, {});
    this.#main.applyOptions(looks.lookOf(kind, this.#colors));
    this.#main.attachPrimitive(this.#bands);
    this.#firings = createSeriesMarkers(this.#main, []);
  }

  #value({ time, open, high, low, close }) {
    return this.#kind === "line" ? { time, value: close } : { time, open, high, low, close };
  }

  #bar({ time, open, close, volume }) {
    return { time, value: volume, color: close < open ? this.#colors.fallSoft : this.#colors.riseSoft };
  }

  #showAhead(times) {
    const sorted = [...new Set(times)].sort((one, other) => one - other);
    this.#ahead.setData(sorted.map((time) => ({ time })));
    const scale = this.#chart.timeScale();
    const room = scale.scrollPosition(); // bars between the last candle and the right edge
    // Nothing is scrolled for those who look at the past.
    if (room >= 0 && room < sorted.length + ROOM) scale.scrollToPosition(sorted.length + ROOM, false);
  }

  /** In a pane of its own, which is there as long as there is a score. */
  #showScore(points, nominal) {
    if (points.length === 0) {
      if (this.#score) this.#chart.removeSeries(this.#score);
      this.#score = this.#nominal = null;
      return;
    }
    this.#score ??= this.#addScore();
    this.#score.setData(points);
    if (this.#nominal) this.#score.removePriceLine(this.#nominal);
    const line = { price: 100 * nominal, color: this.#colors.muted, lineWidth: 1, title: "promised" };
    this.#nominal = Number.isFinite(nominal) ? this.#score.createPriceLine(line) : null;
  }

  #addScore() {
    const options = { ...looks.scoreLine(), color: this.#colors.accent };
    const score = this.#chart.addSeries(this.#library.LineSeries, options, 1);
    this.#chart.panes()[0].setStretchFactor(4);
    this.#chart.panes()[1].setStretchFactor(1);
    return score;
  }

  /** The cross stays with its candle when the chart moves, which it does with the next frame. */
  #point() {
    requestAnimationFrame(() => {
      if (this.#chosen === null) return;
      this.#chart.setCrosshairPosition(this.#chosen.close, this.#chosen.time, this.#main);
    });
  }

  #candleAt(time) {
    return time === undefined ? null : this.#candles.find((candle) => candle.time === time) ?? null;
  }

  #uncover(index) {
    const scale = this.#chart.timeScale();
    const { from, to } = scale.getVisibleLogicalRange();
    const shift = Math.min(0, index - from - 1) + Math.max(0, index - to + 1);
    if (shift !== 0) scale.setVisibleLogicalRange({ from: from + shift, to: to + shift });
  }
}

/** Marks on the axis of time are where days begin for the reader, not in UTC. */
function timesOf({ defaultHorzScaleBehavior }, clock) {
  return class extends defaultHorzScaleBehavior() {
    fillWeightsForPoints(points, start) {
      const local = points.map((point) => {
        const time = this.convertHorzItemToInternal(clock().local(point.originalTime));
        return { ...point, time };
      });
      super.fillWeightsForPoints(local, start);
      for (let place = start; place < points.length; place += 1) {
        points[place].timeWeight = local[place].timeWeight;
      }
    }
  };
}
