import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Backoff } from "../../realtime/static/realtime/client/backoff.js";
import { NOT_CONNECTED } from "../../realtime/static/realtime/client/errors.js";
import { CLIENT_TYPES, SERVER_TYPES } from "../../realtime/static/realtime/client/protocol.js";
import { recorded } from "./recorded.mjs";

const wire = JSON.parse(readFileSync(new URL("../wire_examples.json", import.meta.url)));

const sent = (effects) => effects.filter((e) => e.do === "send").map((e) => e.message);
const emitted = (effects) => effects.filter((e) => e.do === "emit").map((e) => e.detail.type);
const settled = (effects) => effects.filter((e) => e.do === "settle");
const states = (effects) => effects.map((e) => e.detail).filter((message) => message?.type === "state");

function connected(streams = {}, more = {}) {
  return {
    type: "connected",
    symbols: Object.keys(streams),
    heartbeat_interval: 30,
    authenticated: false,
    streams,
    ...more,
  };
}

function subscribed(streams, more = {}) {
  return { type: "subscribed", symbols: Object.keys(streams), streams, ...more };
}

function price(offset, more = {}) {
  return { type: "market_data_update", symbol: "AAPL", data: { price: 1 }, offset, ...more };
}

/** A session that is live and subscribed to AAPL at offset 5. */
function live({ channel = "market-data", history = 0 } = {}) {
  const session = recorded({ channel, history, backoff: new Backoff({ random: () => 1 }) });
  session.start(0);
  session.received(connected(), 0);
  const { id } = session.subscribe(["AAPL"], 0);
  session.received(subscribed({ AAPL: { epoch: "e", offset: 5 } }, { id }), 0);
  return session;
}

test("start opens a socket", () => {
  const effects = recorded({ channel: "alerts" }).start(0);
  assert.deepEqual(effects.at(-1), { do: "open" });
  assert.deepEqual(states(effects), [{ type: "state", phase: "connecting", channel: "alerts" }]);
});

test("connected makes it live", () => {
  const session = recorded({ channel: "market-data" });
  session.start(0);
  const effects = session.received(connected({}, { authenticated: true }), 0);
  const [{ phase, authenticated }] = states(effects);
  assert.deepEqual({ phase, authenticated }, { phase: "live", authenticated: true });
});

test("a ping is answered with a pong", () => {
  const effects = live().received({ type: "ping", heads: { AAPL: 5 } }, 0);
  assert.deepEqual(sent(effects), [{ type: "pong" }]);
});

test("a head beyond the position asks for the tail", () => {
  const effects = live().received({ type: "ping", heads: { AAPL: 7 } }, 0);
  const [, request] = sent(effects);
  assert.deepEqual(request.since, { AAPL: { epoch: "e", offset: 5 } });
});

test("symbols asked for before the connection are subscribed with it", () => {
  const session = recorded({ channel: "market-data" });
  const effects = session.subscribe(["AAPL", "MSFT"], 0);
  assert.deepEqual([...effects], []);
  const { id } = effects;
  session.start(0);
  const [message] = sent(session.received(connected(), 0));
  assert.deepEqual(message, { type: "subscribe", symbols: ["AAPL", "MSFT"], id });
});

test("an answer settles its request", () => {
  const session = live();
  const { id } = session.subscribe(["MSFT"], 0);
  const answer = subscribed({ MSFT: { epoch: "e", offset: 0 } }, { id });
  assert.deepEqual(settled(session.received(answer, 0)), [{ do: "settle", id, answer }]);
});

test("an error settles its request with code, message and details", () => {
  const session = live();
  const { id } = session.subscribe(["A B"], 0);
  const details = { symbols: { "A B": "no" } };
  const message = { type: "error", code: "invalid_symbol", message: "no", retry: false };
  const [{ error }] = settled(session.received({ ...message, details, id }, 0));
  assert.equal(error.code, "invalid_symbol");
  assert.deepEqual(error.details, details);
});

test("a gap asks for what is missing, and what comes meanwhile waits for the replay", () => {
  const session = live();
  const effects = session.received(price(8), 0);
  assert.deepEqual(emitted(effects), []);
  const [{ id, ...request }] = sent(effects);
  assert.deepEqual(request, {
    type: "subscribe",
    symbols: ["AAPL"],
    since: { AAPL: { epoch: "e", offset: 5 } },
  });
  assert.deepEqual([...session.received(price(9), 0)], []);
  const streams = { AAPL: { epoch: "e", offset: 9, recovered: true, replayed: 4 } };
  session.received(subscribed(streams, { id }), 0);
  for (const offset of [6, 7, 8, 9]) {
    const [{ detail }] = session.received(price(offset), 0);
    assert.equal(detail.type, "market_data_update");
    assert.equal(detail.replayed, true);
  }
});

test("a refused since does not stop the stream", () => {
  const session = live();
  const [{ id }] = sent(session.received(price(8), 0));
  const error = { type: "error", code: "internal_error", message: "x", retry: true, id };
  assert.deepEqual(emitted(session.received(error, 0)), ["error"]);
  assert.deepEqual(emitted(session.received(price(9), 0)), ["market_data_update"]);
});

test("a lost connection is resumed where it was", () => {
  const session = live();
  session.received(price(6), 0);
  const effects = session.dropped({ code: 1006, reason: "" }, 1000);
  assert.deepEqual(effects.at(-1), { do: "wait", ms: 500 });
  session.start(0);
  const [message] = sent(session.received(connected(), 2000));
  assert.deepEqual(message.symbols, ["AAPL"]);
  assert.deepEqual(message.since, { AAPL: { epoch: "e", offset: 6 } });
});

test("repeated failures wait longer, and a connection that held for long starts over", () => {
  const session = live();
  const drop = (now) => session.dropped({ code: 1006, reason: "" }, now).at(-1).ms;
  assert.deepEqual([drop(0), drop(0), drop(0)], [500, 1000, 2000]);
  session.start(0);
  session.received(connected(), 0);
  assert.equal(drop(60_000), 500);
});

test("a connection that breaks at once is one more failure", () => {
  const session = live();
  session.dropped({ code: 1006, reason: "" }, 0);
  session.start(0);
  session.received(connected(), 0);
  assert.equal(session.dropped({ code: 1006, reason: "" }, 100).at(-1).ms, 1000);
});

test("a bad credential closes for good, with the reason of the server", () => {
  const session = recorded({ channel: "alerts" });
  session.start(0);
  session.received({ type: "error", code: "invalid_token", message: "expired", retry: false }, 0);
  const effects = session.dropped({ code: 4401, reason: "" }, 0);
  assert.equal(effects.some((effect) => effect.do === "wait"), false);
  const [state] = states(effects);
  assert.equal(state.phase, "closed");
  assert.equal(state.code, 4401);
  assert.equal(state.reason, "expired");
});

test("what was subscribed to outlives a refusal", () => {
  const session = live();
  session.dropped({ code: 4401, reason: "" }, 0);
  session.start(0);
  assert.deepEqual(sent(session.received(connected(), 0))[0].symbols, ["AAPL"]);
});

test("server_shutdown says when to come back, from when it said so", () => {
  const session = live();
  session.received({ type: "server_shutdown", reconnect_in_ms: 1730 }, 1000);
  assert.equal(session.dropped({ code: 1012, reason: "" }, 1500).at(-1).ms, 1230);
});

test("a shutdown announced to one connection does not count for the next", () => {
  const session = live();
  session.received({ type: "server_shutdown", reconnect_in_ms: 1730 }, 0);
  session.dropped({ code: 1012, reason: "" }, 0);
  assert.equal(session.dropped({ code: 1006, reason: "" }, 0).at(-1).ms, 500);
});

test("a connection limit is tried again after the time that the server names", () => {
  const session = recorded({ channel: "alerts" });
  session.start(0);
  const error = { type: "error", code: "connection_limit", message: "x", retry: true };
  session.received({ ...error, retry_after_ms: 5000 }, 0);
  assert.equal(session.dropped({ code: 4429, reason: "" }, 0).at(-1).ms, 5000);
});

test("a request in flight fails with the connection", () => {
  const session = live();
  const { id } = session.request({ type: "request_prediction", symbol: "AAPL", horizon: 1 }, 0);
  const [{ id: failed, error }] = settled(session.dropped({ code: 1006, reason: "" }, 0));
  assert.equal(failed, id);
  assert.equal(error.code, NOT_CONNECTED);
});

test("a subscribe in flight is sent again instead", () => {
  const session = live();
  const { id } = session.subscribe(["MSFT"], 0);
  assert.deepEqual(settled(session.dropped({ code: 1006, reason: "" }, 0)), []);
  session.start(0);
  const messages = sent(session.received(connected(), 0));
  assert.deepEqual(messages.at(-1), { type: "subscribe", symbols: ["MSFT"], id });
});

test("without a connection a request fails at once", () => {
  const effects = recorded({ channel: "predictions" }).request({ type: "status" }, 0);
  assert.equal(settled(effects)[0].error.code, NOT_CONNECTED);
});

test("what was unsubscribed from is not asked for again", () => {
  const session = live();
  session.unsubscribe(["AAPL"], 0);
  session.dropped({ code: 1006, reason: "" }, 0);
  session.start(0);
  assert.deepEqual(sent(session.received(connected(), 0)), []);
});

test("alerts ask for earlier ones, by audience", () => {
  const session = recorded({ channel: "alerts", history: 20 });
  session.start(0);
  const streams = { all: { epoch: "e", offset: 57 }, user: { epoch: "f", offset: 0 } };
  const [{ id, ...message }] = sent(session.received(connected(streams), 0));
  assert.ok(Number.isInteger(id));
  assert.deepEqual(message, {
    type: "subscribe",
    symbols: ["all"],
    since: { all: { epoch: "e", offset: 37 } },
  });
});

test("the streams of alerts are never subscribed to as symbols", () => {
  const session = recorded({ channel: "alerts" });
  session.start(0);
  session.received(connected({ all: { epoch: "e", offset: 1 } }), 0);
  session.received(subscribed({ all: { epoch: "e", offset: 1 } }), 0);
  session.dropped({ code: 1006, reason: "" }, 0);
  session.start(0);
  assert.deepEqual(sent(session.received(connected({}), 0)), []);
});

test("updates lost for good are told, and the stream goes on", () => {
  const session = live();
  const gap = { type: "gap", symbol: "AAPL", from_offset: 6, to_offset: 9, epoch: "e" };
  assert.deepEqual(emitted(session.received(gap, 0)), ["gap"]);
  assert.deepEqual(emitted(session.received(price(9, { snapshot: true }), 0)), [
    "market_data_update",
  ]);
});

test("another credential knows nothing of the streams of the one before", () => {
  const session = live();
  session.forget();
  session.start(0);
  const [message] = sent(session.received(connected(), 0));
  assert.equal(message.since, undefined);
});

test("a socket may take 15 s to greet, and its credential a minute before", () => {
  const session = recorded({ channel: "alerts" });
  session.start(0);
  assert.equal(session.dueMs, 60_000);
  session.opening(5_000);
  assert.deepEqual([...session.tick(19_999)], []);
  assert.deepEqual(session.tick(20_000)[0], { do: "abandon" });
  assert.equal(session.phase, "waiting");
});

test("a change of the network asks at once whether the connection lives", () => {
  const session = live();
  assert.deepEqual(sent(session.probe(100)), [{ type: "ping" }]);
  assert.deepEqual([...session.probe(200)], []);
  assert.equal(session.dueMs, 4_100);
});

test("a timer that was held up asks once more", () => {
  const session = live();
  session.tick(4_000);
  assert.deepEqual(sent(session.tick(70_000)), [{ type: "ping" }]);
  assert.deepEqual(session.tick(74_000)[0], { do: "abandon" });
});

test("a stream that usually says something each second is asked about sooner", () => {
  const session = live();
  for (let n = 1; n < 40; n += 1) session.received(price(5 + n), n * 500);
  assert.ok(session.dueMs - 19_500 < 2_000, String(session.dueMs));
});

test("stop fails what is open and is idle", () => {
  const session = live();
  const { id } = session.subscribe(["MSFT"], 0);
  const effects = session.stop();
  assert.deepEqual(settled(effects).map((effect) => effect.id), [id]);
  assert.equal(session.phase, "idle");
});

for (const message of wire.server_to_client) {
  test(`${message.type} of the shared examples reaches the page`, () => {
    const channel = message.type === "alert" ? "alerts" : "market-data";
    const session = recorded({ channel });
    session.start(0);
    session.received(connected(), 0);
    const effects = session.received(message, 0);
    assert.ok(emitted(effects).includes(message.type));
  });
}

test("every message of the protocol has a shared example", () => {
  const types = (examples) => [...new Set(examples.map((message) => message.type))].sort();
  assert.deepEqual(types(wire.server_to_client), [...SERVER_TYPES].sort());
  assert.deepEqual(types(wire.client_to_server), [...CLIENT_TYPES].sort());
});

test("what the session sends has the shape of the shared examples", () => {
  const fields = (message) => Object.keys(message).sort().join();
  const shape = (message) => `${message.type}: ${fields(message)}`;
  const known = new Set(wire.client_to_server.map(shape));
  const session = live();
  const messages = [
    ...sent(session.received({ type: "ping", heads: {} }, 0)),
    ...sent(session.subscribe(["MSFT"], 0)),
    ...sent(session.unsubscribe(["MSFT"], 0)),
    ...sent(session.request({ type: "request_prediction", symbol: "A", horizon: 1 }, 0)),
    ...sent(session.request({ type: "configure_alerts", config: {} }, 0)),
    ...sent(session.request({ type: "ack", ids: [] }, 0)),
    ...sent(session.request({ type: "auth", token: "t" }, 0)),
    ...sent(session.request({ type: "status" }, 0)),
  ];
  for (const message of messages) {
    assert.ok(known.has(shape(message)), JSON.stringify(message));
  }
});
