import assert from "node:assert/strict";
import { test } from "node:test";

import { bySymbol, summaryOf } from "../../realtime/static/realtime/rule-trial.js";
import * as values from "../../realtime/static/realtime/rule-values.js";

test("a rule in its short form is written in full", () => {
  const short = { symbol: "AAPL", condition: "above", threshold: 150, rearm: 148, severity: "high" };
  assert.deepEqual(values.expanded(short), {
    symbols: ["AAPL"],
    severity: "high",
    conditions: [{ type: "above", value: 150, rearm: 148 }],
  });
  assert.deepEqual(values.expanded({ symbols: "AAPL" }), { symbols: ["AAPL"] });
});

test("a rule in its long form stays as it is", () => {
  const rule = { symbols: ["AAPL"], conditions: [{ type: "direction_flip" }], escalate_to: 3, odd: 1 };
  assert.deepEqual(values.expanded(rule), rule);
});

test("symbols are separated by commas or blanks", () => {
  assert.deepEqual(values.symbolsOf(" aapl, BTC/USD;*  msft,"), ["AAPL", "BTC/USD", "*", "MSFT"]);
  assert.deepEqual(values.symbolsOf("  "), []);
});

test("a wrong type is said in words", () => {
  assert.equal(values.problemOf("Expected float, got str"), "Enter a number.");
  assert.equal(values.problemOf("Expected `int | null`, got `str`"), "Expected `int | null`, got `str`.");
  assert.equal(values.problemOf("must be positive"), "Must be positive.");
});

test("an instant is shown in local time and comes back", () => {
  const text = "2030-01-31T12:00:00.000Z";
  assert.equal(values.instantOf(values.localTime(text)), text);
  assert.deepEqual([undefined, "soon"].map(values.localTime), ["", ""]);
  assert.equal(values.instantOf(""), undefined);
});

test("all days are the default, which is left out", () => {
  const weekend = values.withDay({ start: "09:30", days: ["sun"] }, "sat", true);
  assert.deepEqual(weekend, { start: "09:30", days: ["sat", "sun"] });
  assert.deepEqual(values.withDay({}, "mon", false).days.length, 6);
  assert.deepEqual(values.withDay({ days: values.DAYS.slice(1) }, "mon", true), {});
});

test("a problem belongs to the field at the beginning of its path", () => {
  const problems = { "symbols[1]": ["too long"], "active_hours.start": "odd", "": ["all of it"] };
  assert.deepEqual(values.byField(problems), {
    symbols: { "symbols[1]": "too long" },
    active_hours: { "active_hours.start": "odd" },
    "": { "": "all of it" },
  });
});

const REPORT = {
  updates: 1200, begin: "2024-01-02T00:00:00Z", end: "2024-01-03T00:00:00Z",
  fired: 1, fired_without_cooldown: 3, times: [{ symbol: "A" }],
};

test("a report is a sentence", () => {
  const text = summaryOf(REPORT);
  assert.match(text, /^It would have fired once \(3 times without the pause .*\), in 1,200 updates from/);
  assert.match(summaryOf({ ...REPORT, fired: 2, fired_without_cooldown: 2 }), /twice, the newest 1 of/);
  const never = { ...REPORT, fired: 0, fired_without_cooldown: 0, times: [] };
  assert.match(summaryOf(never), /^It would never have fired, in 1,200 updates/);
  assert.match(summaryOf({ ...REPORT, updates: 0 }), /no such past/);
});

test("firings are told for each symbol", () => {
  const [a, b, c] = ["A", "B", "A"].map((symbol, at) => ({ symbol, at }));
  assert.deepEqual(bySymbol([a, b, c]), [["A", [a, c]], ["B", [b]]]);
});
