import assert from "node:assert/strict";
import { test } from "node:test";

import * as rules from "../../realtime/static/realtime/rule-conditions.js";

const above = { type: "above", value: 150, rearm: 148 };
const move = { type: "percent_move", value: 2, window: 60, direction: "up" };

test("conditions become rows, and rows the same conditions", () => {
  const conditions = [
    above,
    { type: "any", conditions: [move, { type: "all", conditions: [{ type: "direction_flip" }] }] },
    { type: "stale", seconds: 90, channel: "predictions" },
  ];
  const rows = rules.rowsOf(conditions);
  assert.deepEqual(rows[0], { type: "above", values: { value: 150, rearm: 148 } });
  assert.deepEqual(rows[1].rows[1].group, "all");
  assert.deepEqual(rules.conditionsOf(rows), conditions);
});

test("the short form of a group is a group", () => {
  const rows = rules.rowsOf([{ any: [above] }]);
  assert.deepEqual(rows, [{ group: "any", rows: rules.rowsOf([above]) }]);
  assert.deepEqual(rules.conditionsOf(rows), [{ type: "any", conditions: [above] }]);
});

test("what the form does not know is kept as it is", () => {
  const odd = [
    7, null, "above", [above], { type: "moon_phase", value: 1 }, { type: "all", conditions: 3 },
    { type: "above", conditions: [] }, { type: "toString" }, { any: [above], note: "x" }, {},
    { type: "any", conditions: [above], note: "x" },
  ];
  assert.deepEqual(rules.conditionsOf(rules.rowsOf(odd)), odd);
  assert.ok(rules.rowsOf(odd).every((row) => "json" in row));
  const extra = [{ ...above, comment: "mine" }];
  assert.deepEqual(rules.conditionsOf(rules.rowsOf(extra)), extra);
});

test("another type keeps the fields that both have", () => {
  const [row] = rules.rowsOf([above]);
  assert.deepEqual(rules.retyped(row, "crosses_below").values, { value: 150, rearm: 148 });
  assert.deepEqual(rules.retyped(row, "percent_move").values, { value: 150, window: 300 });
  assert.deepEqual(rules.retyped(row, "direction_flip").values, {});
});

test("a new condition begins with the price that is known", () => {
  assert.deepEqual(rules.newRow("above", 149.5), { type: "above", values: { value: 149.5 } });
  assert.deepEqual(rules.newRow().values, {});
});

test("conditions are complete once every field that they need is a number", () => {
  const complete = (...conditions) => rules.areComplete(rules.rowsOf(conditions));
  assert.ok(complete(above, move, { type: "direction_flip" }, { any: [above] }, 7));
  const halves = [{ type: "above" }, { type: "above", value: "1,5" }, { ...above, rearm: "x" }, { any: [] }];
  assert.ok(halves.every((half) => !complete(above, half)));
  assert.ok(!complete());
});

test("a number is read as it was typed, and anything else is left to the server", () => {
  const read = ["150", " 1e3 ", "-0.5", "+2", "", "  ", "150,5", "Infinity", "0x"].map(rules.numberOf);
  assert.deepEqual(read, [150, 1000, -0.5, 2, undefined, undefined, "150,5", "Infinity", "0x"]);
  assert.deepEqual([150.25, "x", undefined, null].map(rules.textOf), ["150.25", "x", "", ""]);
});

test("seconds are shown in their largest unit and come back as they were", () => {
  const shown = { 0: "0 s", 1.5: "1.5 s", 60: "1 min", 90: "90 s", 5400: "90 min", 86400: "1 d" };
  for (const [seconds, text] of Object.entries(shown)) {
    const { amount, unit } = rules.durationOf(Number(seconds));
    assert.equal(`${amount} ${unit}`, text);
    assert.equal(rules.secondsOf(amount, unit), Number(seconds));
  }
  assert.equal(rules.secondsOf("", "h"), undefined);
  assert.equal(rules.secondsOf("soon", "h"), "soon");
});
