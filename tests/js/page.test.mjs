import assert from "node:assert/strict";
import { test } from "node:test";

import { Announcer } from "../../realtime/static/realtime/announcer.js";
import { areaPath, linePath, placesOnBar, withTrade } from "../../realtime/static/realtime/drawings.js";
import { commandFor } from "../../realtime/static/realtime/commands.js";
import * as format from "../../realtime/static/realtime/format.js";
import { parseSymbol } from "../../realtime/static/realtime/symbols.js";
import { answerText, held, lately, outcomeText } from "../../realtime/static/realtime/score.js";
import { Rate } from "../../realtime/static/realtime/rate.js";
import { sorted } from "../../realtime/static/realtime/symbol-order.js";
import { symbolsIn } from "../../realtime/static/realtime/watchlist.js";

test("what is announced waits for what was said before, and gives way to newer words", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const element = { textContent: "" };
  const announcer = new Announcer(element);
  announcer.say("Connection lost.", "connection");
  announcer.say("Alert: one", "alerts");
  announcer.say(() => "Alert: two", "alerts");
  announcer.say("Connection is back.", "connection");
  assert.equal(element.textContent, "Connection lost.");
  context.mock.timers.tick(3_000);
  assert.equal(element.textContent, "Alert: two Connection is back.");
  context.mock.timers.tick(3_000);
  announcer.say("later");
  assert.equal(element.textContent, "later");
});

test("the same words are announced once more", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const element = { textContent: "" };
  const announcer = new Announcer(element);
  const heard = ["again", "again"].map((text) => {
    announcer.say(text);
    context.mock.timers.tick(6_000);
    return element.textContent;
  });
  assert.notEqual(heard[0], heard[1]);
});

test("symbols are sorted by what is known, and stay in their order where that is the same", () => {
  const prices = { B: 2, NEW: undefined, A: 10, C: 2 };
  const states = Object.entries(prices).map(([symbol, price]) => ({ symbol, price }));
  const order = (name) => sorted(states, name).map(({ symbol }) => symbol).join(" ");
  assert.equal(order(""), "B NEW A C");
  assert.equal(order("price"), "B C A NEW");
  assert.equal(order("-price"), "A B C NEW");
  assert.equal(order("-symbol"), "NEW C B A");
});

test("a line spans its box, the highest value on top", () => {
  assert.equal(linePath([1, 3, 2], 100, 40), "M0 40L50 0L100 20");
});

test("a flat line lies in the middle", () => {
  assert.equal(linePath([2, 2], 100, 40), "M0 20L100 20");
});

test("one value draws nothing", () => {
  assert.equal(linePath([1], 100, 40), "");
  assert.equal(areaPath([1], 100, 40), "");
});

test("the places on a bar keep their order and leave room at the ends", () => {
  const at = placesOnBar({ lower: 90, now: 100, point: 105, upper: 110 });
  assert.deepEqual(at, { lower: 6, now: 50, point: 72, upper: 94 });
});

test("a value that is missing has no place", () => {
  assert.deepEqual(placesOnBar({ lower: undefined, point: 5, now: 5 }), { point: 50, now: 50 });
});

test("a trade that was taken back leaves the chart", () => {
  const first = withTrade([], { price: 150, trade_id: "D1" });
  const both = withTrade(first, { price: 15, trade_id: "D2" });
  assert.deepEqual(withTrade(both, { price: 150, corrects: { trade_id: "D2" } }), first);
  const right = withTrade(both, { price: 150, corrects: { trade_id: "D2", price: 149 } });
  assert.deepEqual(right.map(({ price }) => price), [150, 149]);
  assert.deepEqual(withTrade(both, { corrects: {} }), both);
});

test("numbers at the end of a float are drawn and written", () => {
  assert.equal(linePath([-1.7e308, 1.7e308], 100, 40), "M0 40L100 0");
  assert.deepEqual(placesOnBar({ lower: -1.7e308, upper: 1.7e308 }), { lower: 6, upper: 94 });
  assert.equal(format.price(1.7e308), "1.70e+308");
  assert.equal(format.volume(1.7e308), "1.7e+308");
  assert.equal(format.change(1.7e308), "▲ +1.70e+308 %");
});

test("prices have two decimals, and more below 1", () => {
  assert.equal(format.price(1234.5), "1,234.50");
  assert.equal(format.price(0.01234), "0.01234");
  assert.equal(format.price(0), "0.00");
  assert.equal(format.price(0.00001234), "0.00001234");
  assert.equal(format.price(1.08345), "1.08345");
  assert.equal(format.price(5.2), "5.20");
});

test("a value that is not a number is a dash", () => {
  const { price, change, volume, share, milliseconds } = format;
  for (const shown of [price, change, volume, share, milliseconds]) {
    assert.equal(shown(undefined), "–");
    assert.equal(shown("12"), "–");
  }
});

test("a change says its direction without colour", () => {
  assert.equal(format.change(1.254), "▲ +1.25 %");
  assert.equal(format.change(-0.5), "▼ −0.50 %");
  assert.equal(format.change(-0.001), "0.00 %");
});

test("shares, volumes, horizons and times are short", () => {
  assert.equal(format.share(0.9), "90 %");
  assert.equal(format.volume(1_000_000), "1M");
  assert.equal(format.horizon(1), "1 step ahead");
  assert.equal(format.horizon(5), "5 steps ahead");
  assert.equal(format.horizon("1 week"), "1 week");
  assert.equal(format.milliseconds(0.2), "1 ms");
  assert.equal(format.milliseconds(1240), "1.2 s");
  assert.equal(format.age(12_300), "12 s");
  assert.equal(format.date("2004-05-03"), "3 May 2004");
});

test("a moment has its day and its zone", () => {
  assert.match(format.moment("2026-11-30T14:05:09.123Z"), /^(30 Nov|1 Dec) 2026, \d\d:\d\d:09 \S+$/);
});

test("a text that is not a time is shown as it is", () => {
  assert.equal(format.timeOfDay("soon"), "soon");
  assert.equal(format.timeOfDay(undefined), "");
});

test("a message of the server becomes a sentence", () => {
  assert.equal(format.sentence("the token has expired"), "The token has expired.");
  assert.equal(format.sentence("Wait!"), "Wait!");
  assert.equal(format.sentence(""), "");
});

test("symbols are upper-cased", () => {
  assert.equal(parseSymbol(" brk.b "), "BRK.B");
  for (const symbol of ["AAPL", "BTC-USD", "BTC/USD", "EURUSD=X", "^GSPC", "A".repeat(32)]) {
    assert.equal(parseSymbol(symbol), symbol);
  }
});

test("a text that is not a symbol is refused with the rule", () => {
  assert.throws(() => parseSymbol("  "), /Enter a symbol/);
  assert.throws(() => parseSymbol("A B"), /A-Z 0-9/);
  assert.throws(() => parseSymbol("-A"), /starts with/);
  assert.throws(() => parseSymbol("A".repeat(33)), /32/);
});

test("a symbol that a shell would read is quoted in the command", () => {
  assert.match(commandFor("AAPL"), /^python manage.py broadcast_market_data AAPL '\{/);
  assert.match(commandFor("AAPL", ".venv/bin/python"), /^\.venv\/bin\/python manage.py /);
  assert.match(commandFor("^GSPC"), / '\^GSPC' /);
});

test("the rate counts whole seconds of its window", () => {
  const rate = new Rate(5);
  for (let ms = 0; ms < 3000; ms += 100) rate.count(ms);
  assert.equal(rate.perSecond(3050), 10);
  assert.equal(rate.perSecond(8500), 0);
});

test("the rate is zero before the first whole second", () => {
  const rate = new Rate();
  rate.count(100);
  assert.equal(rate.perSecond(200), 0);
});

test("a score says what was held beside what was promised", () => {
  const score = { within_bounds: 0.9137, nominal: 0.9, directional_accuracy: 0.56, outcomes: 200 };
  assert.equal(held(score), "91.4 % in band (90 % promised)");
  assert.equal(lately(score), "direction right 56 % · last 200");
});

test("a score leaves out what is not known", () => {
  assert.equal(held({ outcomes: 1 }), "");
  assert.equal(held({ within_bounds: 1, outcomes: 1 }), "100 % in band");
  assert.equal(lately({ outcomes: 1 }), "last 1");
});

test("an outcome says whether it was within the bounds without colour", () => {
  const outcome = { actual_price: 151, predicted_price: 150.25, within_bounds: true };
  assert.equal(outcomeText(outcome), "✓ became 151.00, predicted 150.25");
  assert.match(outcomeText({ ...outcome, within_bounds: false }), /^✗ /);
});

test("an answer says its band where it has one", () => {
  const answer = { predicted_price: 150.25, lower_bound: 148, upper_bound: 152, horizon: 5 };
  assert.equal(answerText(answer), "150.25 (148.00 to 152.00), 5 steps ahead");
  assert.equal(answerText({ predicted_price: 150.25 }), "150.25");
});

test("a change that is shown as 0.00 has no direction", () => {
  for (const percent of [0, -0, 0.004, -0.004]) assert.equal(format.direction(percent), 0);
  assert.equal(format.direction(0.006), 1);
  assert.equal(format.direction(-0.006), -1);
  assert.equal(format.direction(NaN), 0);
});

test("the symbols of a watchlist are each there once, without other words", () => {
  assert.deepEqual(symbolsIn("aapl, MSFT,AAPL btc/usd -A <script>"), ["AAPL", "MSFT", "BTC/USD"]);
  assert.equal(symbolsIn(Array.from({ length: 300 }, (_, n) => `S${n}`).join()).length, 200);
  assert.deepEqual(symbolsIn(""), []);
});
