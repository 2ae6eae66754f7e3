import assert from "node:assert/strict";
import { test } from "node:test";

import { AlertList } from "../../realtime/static/realtime/alert-list.js";

const alert = (id, data = {}) => ({ id: String(id), timestamp: `2026-01-01T00:00:${id}Z`, data });
const ids = (alerts) => alerts.map(({ message }) => message.id);

function listOf(...alerts) {
  const list = new AlertList();
  for (const each of alerts) list.add(each);
  return list;
}

test("alerts are newest first, each once, however they come", () => {
  const list = listOf(alert(20), alert(40), alert(30), alert(10));
  assert.equal(list.add(alert(30)), false);
  assert.deepEqual(ids(list.shown()), ["40", "30", "20", "10"]);
});

test("unread are those that nobody has marked", () => {
  const list = listOf(alert(10), alert(20));
  list.add(alert(30), { read: true });
  assert.equal(list.unread, 2);
  assert.equal(list.markRead(["10", "99"]), true);
  assert.equal(list.markRead(["10", "99"]), false);
  assert.deepEqual(ids(list.shown({ unread: true })), ["20"]);
});

test("a filter shows a severity and above, and symbols by their beginning", () => {
  const list = listOf(
    alert(10, { severity: "low", symbol: "AAPL" }),
    alert(20, { severity: "high", symbol: "BTC/USD" }),
    alert(30, { severity: "critical", symbol: "AAPL" }),
    alert(40),
  );
  assert.deepEqual(ids(list.shown({ severity: "high" })), ["40", "30", "20"]);
  assert.deepEqual(ids(list.shown({ symbol: " btc" })), ["40", "20"]);
  assert.deepEqual(ids(list.shown({ severity: "medium", symbol: "AAPL" })), ["40", "30"]);
});

test("the oldest of very many are forgotten, and may come again", () => {
  const list = new AlertList();
  for (let id = 1000; id < 1400; id++) list.add({ id: String(id), timestamp: String(id), data: {} });
  assert.equal(list.size, 300);
  assert.deepEqual([list.add(alert(1399)), list.add({ ...alert(1000), timestamp: "2" })], [false, true]);
});

test("nothing is left for another user", () => {
  const list = listOf(alert(10));
  list.clear();
  assert.deepEqual([list.size, list.unread, list.add(alert(10))], [0, 0, true]);
});
