import assert from "node:assert/strict";
import { test } from "node:test";

import { Candles, barStart, secondsOf } from "../../realtime/static/realtime/chart/candles.js";
import { firingsOn } from "../../realtime/static/realtime/chart/firings.js";
import { Forecasts, forecastOf, placed, scoreOverTime } from "../../realtime/static/realtime/chart/forecasts.js";
import * as text from "../../realtime/static/realtime/chart/text.js";

const NOW = Date.parse("2024-06-03T12:00:00Z") / 1000; // a Monday
const at = (moment) => Date.parse(moment) / 1000;
const bar = (start, close, more = {}) => ({
  start, open: close, high: close, low: close, close, volume: 1, closed: true, ...more,
});
const tick = (data, timestamp = "2024-06-03T11:59:30Z") => ({ data, timestamp });

function minutes(...bars) {
  const candles = new Candles("1m");
  candles.load({ source: "", bars });
  return candles;
}

/** Daily bars from Monday 6 May on, on weekdays, each one dearer than the last. */
function days(count) {
  const starts = Array.from({ length: 2 * count }, (_, day) => at("2024-05-06T00:00:00Z") + day * 86_400);
  const open = starts.filter((start) => ![0, 6].includes(new Date(start * 1000).getUTCDay()));
  const candles = new Candles("1d");
  const bars = open.slice(0, count).map((start, n) => bar(new Date(start * 1000).toISOString(), 100 + n));
  candles.load({ source: "", bars });
  return candles;
}

// Candles ---------------------------------------------------------------------------------------

test("a live update goes into the last candle", () => {
  const candles = minutes(bar("2024-06-03T11:59:00Z", 100));
  assert.equal(candles.add(tick({ price: 103, volume: 2 }), NOW), "last");
  assert.equal(candles.add(tick({ price: 98, volume: 1 }), NOW), "last");
  const [{ open, high, low, close, volume }] = candles.all;
  assert.deepEqual([open, high, low, close, volume], [100, 103, 98, 98, 4]);
});

test("the first update of a minute begins a candle", () => {
  const candles = minutes(bar("2024-06-03T11:58:00Z", 100));
  candles.add(tick({ price: 101 }), NOW);
  assert.deepEqual(candles.all.map(({ time }) => time), [at("2024-06-03T11:58Z"), at("2024-06-03T11:59Z")]);
});

test("an update that comes late changes the candle of its time and no close", () => {
  const candles = minutes(bar("2024-06-03T11:57:00Z", 100), bar("2024-06-03T11:59:00Z", 100));
  assert.equal(candles.add(tick({ price: 90, timestamp: "2024-06-03T11:57:10Z" }), NOW), "earlier");
  assert.equal(candles.all[0].low, 90);
  candles.add(tick({ price: 110, timestamp: "2024-06-03T11:59:40Z" }), NOW);
  candles.add(tick({ price: 120, timestamp: "2024-06-03T11:59:20Z" }), NOW);
  assert.deepEqual([candles.last.high, candles.last.close], [120, 110]);
});

test("a minute without a candle gets one at its place", () => {
  const candles = minutes(bar("2024-06-03T11:57:00Z", 100), bar("2024-06-03T11:59:00Z", 100));
  candles.add(tick({ price: 90, timestamp: "2024-06-03T11:58:10Z" }), NOW);
  assert.deepEqual(candles.all.map(({ close }) => close), [100, 90, 100]);
});

test("an update with bar_date is the candle of that day so far", () => {
  const candles = days(3);
  const data = { price: 7, open: 5, high: 9, low: 4, volume: 20, bar_date: "2024-05-09" };
  candles.add(tick(data), NOW);
  candles.add(tick({ ...data, price: 8, volume: 30 }), NOW);
  const { time, ...rest } = candles.last;
  assert.equal(time, at("2024-05-09T00:00Z"));
  assert.deepEqual(rest, { open: 5, high: 9, low: 4, close: 8, volume: 30 });
});

test("daily bars are in no minute", () => {
  const candles = minutes();
  assert.equal(candles.add(tick({ price: 7, bar_date: "2024-05-09" }), NOW), null);
});

test("a day that is not a day is in no candle", () => {
  for (const day of [20240509, "yesterday", "2024-99-99", {}, "2024-05-09T10:00"]) {
    assert.equal(days(3).add(tick({ price: 7, bar_date: day }), NOW), null);
  }
  assert.equal(days(3).add(tick({ price: 7, bar_date: null }), NOW), "last");
});

test("prices of another source are not those of this chart", () => {
  const candles = minutes(bar("2024-06-03T11:59:00Z", 100));
  assert.equal(candles.add(tick({ price: 1, source: "elsewhere" }), NOW), null);
  assert.equal(candles.last.close, 100);
});

test("without bars the first price says which source it is", () => {
  const candles = new Candles("1m");
  assert.equal(candles.add(tick({ price: 1, source: "ccxt" }), NOW), "last");
  assert.equal(candles.add(tick({ price: 2 }), NOW), null);
});

test("what is not a price, or lies in the future, does not count", () => {
  const candles = minutes(bar("2024-06-03T11:59:00Z", 100));
  for (const price of [0, -1, NaN, "7", null, undefined, 1e300]) {
    assert.equal(candles.add(tick({ price }), NOW), null);
  }
  assert.equal(candles.add(tick({ price: 1, timestamp: "2024-06-03T13:00:00Z" }), NOW), null);
  assert.equal(candles.add(tick({ price: 1, timestamp: "soon" }), NOW), null);
  assert.equal(candles.add(tick({ price: 1, timestamp: {} }), NOW), null);
});

test("a correction and a replay that begins again ask for the stored bars", () => {
  const candles = days(10);
  assert.equal(candles.add(tick({ price: 1, corrects: { trade_id: "1" } }), NOW), "all");
  assert.equal(candles.add(tick({ price: 1, bar_date: "2024-05-01" }), NOW), "all");
});

test("an update that is replayed after a reconnect adds no volume twice", () => {
  const candles = minutes(bar("2024-06-03T11:59:00Z", 100));
  candles.add({ ...tick({ price: 101, volume: 50 }), replayed: true }, NOW);
  candles.add({ ...tick({ price: 102, volume: 50 }), snapshot: true }, NOW);
  assert.deepEqual([candles.last.close, candles.last.volume], [102, 1]);
});

test("stored bars that are read once more are right, and the forming one keeps its newest price", () => {
  const candles = minutes(bar("2024-06-03T11:58:00Z", 100), bar("2024-06-03T11:59:00Z", 100));
  candles.add(tick({ price: 105 }), NOW);
  const forming = bar("2024-06-03T11:59:00Z", 104, { open: 99, low: 98, volume: 7, closed: false });
  const end = candles.refresh({ bars: [bar("2024-06-03T11:58:00Z", 101), forming] });
  assert.equal(end, candles.last.time);
  assert.equal(candles.all[0].close, 101);
  const { open, low, close, volume } = candles.last;
  assert.deepEqual([open, low, close, volume], [99, 98, 105, 7]);
});

test("older bars come before those that are there", () => {
  const candles = minutes(bar("2024-06-03T11:59:00Z", 100));
  const older = [bar("2024-06-03T11:57:00Z", 1), bar("2024-06-03T11:59:00Z", 2)];
  assert.equal(candles.prepend({ bars: older }), 1);
  assert.deepEqual(candles.all.map(({ close }) => close), [1, 100]);
});

test("bars that cannot be drawn are left out", () => {
  const candles = minutes(bar("2024-06-03T11:58:00Z", 1e300), bar("2024-06-03T11:59:00Z", null));
  assert.deepEqual(candles.all, []);
});

test("times are read as the recorder reads them", () => {
  const moment = at("2024-01-01T12:00:00Z");
  for (const stamp of [moment, moment * 1e3, moment * 1e6, moment * 1e9]) {
    assert.equal(secondsOf(stamp), moment);
  }
  assert.equal(secondsOf("2024-01-01T12:00:00"), moment);
  assert.equal(secondsOf("2024-01-01 13:00:00+01:00"), moment);
  assert.equal(barStart("4h", moment + 7), moment);
});

// Predictions -----------------------------------------------------------------------------------

const prediction = {
  predicted_price: 150, lower_bound: 140, upper_bound: 160, confidence: 0.9, horizon: 2, step: "1d",
};

test("the band ends at the bar that the horizon counts to, beyond a weekend", () => {
  const candles = days(5); // until Friday 10 May
  const { from, to, ahead } = placed(
    forecastOf({ ...prediction, timestamp: "2024-05-10T15:00:00Z" }), candles,
  );
  assert.equal(from, at("2024-05-10T00:00Z"));
  assert.deepEqual(ahead, [at("2024-05-13T00:00Z"), at("2024-05-14T00:00Z")]);
  assert.equal(to, at("2024-05-14T00:00Z"));
});

test("a prediction whose bar is there has nothing ahead", () => {
  const made = forecastOf({ ...prediction, timestamp: "2024-05-07T15:00:00Z" });
  const { to, ahead } = placed(made, days(5));
  assert.equal(to, at("2024-05-09T00:00Z"));
  assert.deepEqual(ahead, []);
});

test("on another interval the band ends where the prediction does", () => {
  const candles = minutes(bar("2024-06-03T11:58:00Z", 1), bar("2024-06-03T11:59:00Z", 1));
  candles.interval = "5m";
  const times = { step: "1m", horizon: 15, timestamp: "2024-06-03T11:59:30Z", valid_until: "2024-06-03T12:14:30Z" };
  const { to, ahead } = placed(forecastOf({ ...prediction, ...times }), candles);
  assert.equal(to, at("2024-06-03T12:10Z"));
  assert.deepEqual(ahead, [to]);
});

test("predictions of another source, time or without a price are not on the chart", () => {
  const candles = days(5);
  const made = { ...prediction, timestamp: "2024-05-07T15:00:00Z" };
  assert.equal(placed(forecastOf({ ...made, source: "elsewhere" }), candles), null);
  assert.equal(placed(forecastOf({ ...made, timestamp: "2026-01-01T00:00:00Z" }), candles), null);
  assert.equal(placed(forecastOf({ ...made, timestamp: "2000-01-01T00:00:00Z" }), candles), null);
  for (const price of [undefined, "150", -1, 1e300]) {
    assert.equal(forecastOf({ predicted_price: price }), null);
  }
});

test("a prediction that does not say when it was made is about the last candle", () => {
  const [candles, forecasts] = [days(5), new Forecasts()];
  forecasts.add({ data: { prediction: 7, lower: 6, upper: 8 } }, candles);
  assert.equal(placed(forecasts.current, candles).from, candles.last.time);
  assert.deepEqual([forecasts.current.lower, forecasts.current.upper], [6, 8]);
});

test("the answer to a request stays beside the next prediction of the feed", () => {
  const [candles, forecasts] = [days(5), new Forecasts()];
  forecasts.add({ data: prediction, request_id: "r" }, candles);
  forecasts.add({ data: { ...prediction, predicted_price: 151 } }, candles);
  assert.deepEqual([forecasts.requested.price, forecasts.current.price], [150, 151]);
});

test("an outcome is shown at its bar, in the order of the bars", () => {
  const [candles, forecasts] = [days(5), new Forecasts()];
  const made = (id, timestamp) => ({ ...prediction, prediction_id: id, timestamp });
  forecasts.load([made("2", "2024-05-07T15:00:00Z"), made("1", "2024-05-06T15:00:00Z"), made("3", "2024-05-10T15:00:00Z")]);
  assert.deepEqual(forecasts.outcomes(candles), []);
  forecasts.resolve({ prediction_id: "2", actual_price: 170, within_bounds: false });
  forecasts.resolve({ prediction_id: "1", actual_price: 150, within_bounds: true });
  forecasts.resolve({ prediction_id: "unknown", actual_price: 150, within_bounds: true });
  const told = forecasts.outcomes(candles).map(({ to, within }) => [to, within]);
  assert.deepEqual(told, [[at("2024-05-08T00:00Z"), true], [at("2024-05-09T00:00Z"), false]]);
});

test("predictions of the last lap of a replay are not those of this one", () => {
  const [candles, forecasts] = [days(15), new Forecasts()];
  const made = (id, timestamp) => ({ ...prediction, prediction_id: id, timestamp, source: "replay", actual_price: 1 });
  candles.source = "replay";
  forecasts.load([made("3", "2024-05-08T15:00:00Z"), made("2", "2024-05-07T15:00:00Z"), made("1", "2024-05-22T15:00:00Z")]);
  assert.deepEqual(forecasts.outcomes(candles).map(({ id }) => id), ["2", "3"]);
});

test("the score over time looks back on the last twenty outcomes", () => {
  const outcomes = Array.from({ length: 30 }, (_, to) => ({ to, within: to >= 10 }));
  const score = scoreOverTime(outcomes);
  assert.deepEqual(score[0], { time: 4, value: 0 });
  assert.deepEqual(score.at(-1), { time: 29, value: 100 });
  assert.equal(score.find(({ time }) => time === 19).value, 50);
});

test("firings of a rule are marked at their bars, and those of other times are counted", () => {
  const moments = ["2024-05-07T15:00:00Z", "2024-05-07T16:00:00Z", "2024-05-06T00:00:00Z", "2024-05-11T00:00:00Z"];
  const marks = firingsOn(moments.map((timestamp) => ({ timestamp })), days(5));
  assert.deepEqual(marks, [
    { time: at("2024-05-06T00:00Z"), count: 1 }, { time: at("2024-05-07T00:00Z"), count: 2 },
  ]);
  assert.match(text.firingsText(4, marks), /^4 firings of the rule: 3 marked with arrows; the chart/);
  assert.match(text.firingsText(1, []), /^1 firing of the rule, at times without a bar.*try the rule on bars/);
  assert.equal(text.firingsText(3, marks), "3 firings of the rule: marked with arrows.");
  assert.equal(text.firingsText(0, []), "");
});

// Words -----------------------------------------------------------------------------------------

test("times are those of the reader, with the zone, and days are days", () => {
  const berlin = text.clockOf("1m", "Europe/Berlin");
  assert.equal(berlin.text(NOW), "3 Jun 2024, 14:00");
  assert.equal(berlin.note(NOW), "Times in Europe/Berlin (GMT+2)");
  assert.equal(text.clockOf("1d", "Asia/Tokyo").text(at("2024-06-03T00:00Z")), "Mon, 3 Jun 2024");
  assert.equal(text.clockOf("1d", "Asia/Tokyo").note(NOW), "Days in UTC");
});

test("a chart says where its prices come from", () => {
  assert.equal(text.sourceText("ccxt:binance"), " · prices of ccxt:binance");
  assert.match(text.sourceText("replay"), /not live prices/);
  assert.equal(text.sourceText("") + text.sourceText(null), "");
});

test("a day begins on the axis where it begins for the reader", () => {
  const clock = text.clockOf("1h", "America/New_York");
  assert.equal(clock.local(at("2024-06-03T04:00Z")) % 86_400, 0);
  assert.equal(text.clockOf("1h", "UTC").local(NOW), NOW);
});

test("the summary tells what the drawing shows", () => {
  const candles = days(5);
  const current = placed(forecastOf({ ...prediction, timestamp: "2024-05-10T15:00:00Z" }), candles);
  const outcomes = [{ within: true }, { within: false }, { within: null }];
  const clock = text.clockOf("1d");
  const said = text.summaryOf({ symbol: "AAPL", candles, current, outcomes, clock });
  assert.equal(
    said,
    "AAPL: 5 bars of 1 day from Mon, 6 May 2024 to Fri, 10 May 2024, between 100.00 and 104.00, " +
      "now 104.00. Predicted: 150.00 (140.00 to 160.00, 90 % confidence), 2 steps ahead, for " +
      "Tue, 14 May 2024. Of 2 past predictions on this chart, 1 held their band.",
  );
});

test("a chart without bars says how to get some", () => {
  assert.match(text.emptyText("BTC/USD", "5m", { daily: false }), /BTC\/USD yet.*recorder/);
  assert.match(text.emptyText("AAPL", "5m", { daily: true }), /choose 1d/);
});
