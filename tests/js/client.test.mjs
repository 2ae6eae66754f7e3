import assert from "node:assert/strict";
import { test } from "node:test";

import { AraClient, ARAWebSocketClient } from "../../realtime/static/realtime/ara-client.js";

const url = "ws://127.0.0.1:9/ws";

/** A WebSocket that opens nothing: it shows what it was asked for. */
class Unopened {
  static opened = [];
  constructor(address, protocols) {
    Unopened.opened.push({ address, protocols });
  }
  close() {}
}

async function opened(options, use = () => {}) {
  Unopened.opened = [];
  const client = new AraClient({ url, WebSocket: Unopened, ...options });
  use(client);
  client.connect();
  await new Promise((resolve) => setTimeout(resolve));
  client.close();
  return Unopened.opened;
}

for (const [name, value] of Object.entries({
  url: "nonsense", channel: "prices", symbols: 7, history: 301, since: 7, token: 7, getToken: "ara_…",
  getTicket: {}, WebSocket: "ws",
})) {
  test(`${name} of a wrong type is refused by its name`, () => {
    const refused = (error) => error instanceof TypeError && error.message.startsWith(`${name}: `);
    assert.throws(() => new AraClient({ url, [name]: value }), refused);
  });
}

test("a token that a subprotocol cannot carry is refused", () => {
  assert.throws(() => new AraClient({ url, token: "two words" }), RangeError);
});

test("without a WebSocket, or the address of a server, connect says what to give", () => {
  assert.throws(() => new AraClient({ WebSocket: Unopened }).connect(), /^TypeError: url: /);
  if (globalThis.WebSocket === undefined) {
    assert.throws(() => new AraClient({ url }).connect(), /^TypeError: WebSocket: .* ws/);
  }
});

for (const [given, expected] of [
  ["wss://example.com", "wss://example.com/ws/alerts"],
  ["https://example.com/", "wss://example.com/ws/alerts"],
  ["http://example.com/app/ws/", "ws://example.com/app/ws/alerts"],
  ["ws://example.com/ws/market-data", "ws://example.com/ws/alerts"],
  ["ws://example.com/ws/alerts/?token=x", "ws://example.com/ws/alerts"],
]) {
  test(`the alerts of ${given} are at ${expected}`, async () => {
    const [{ address }] = await opened({ url: given, channel: "alerts" });
    assert.equal(address, expected);
  });
}

for (const at of [5, "e:5", null, { offset: 5 }, { epoch: "e" }, { epoch: "e", offset: "5" }]) {
  test(`${JSON.stringify(at)} is not a position, and its stream is named`, () => {
    assert.throws(() => new AraClient({ url, since: { AAPL: at } }), /^TypeError: since: .*AAPL/);
  });
}

test("positions that were read can be given, in any case, and are kept", () => {
  const at = { epoch: "e", offset: 5 };
  const client = new AraClient({ url, symbols: "aapl", since: { aapl: at } });
  const channel = client.channel("market-data", { since: { AAPL: { epoch: "e", offset: 1 }, IBM: at } });
  assert.deepEqual(channel.positions, { AAPL: at, IBM: at });
  assert.deepEqual(client.channel("alerts", { since: { all: at } }).positions, { all: at });
});

/** A client whose socket has greeted, and that socket. */
async function greeted() {
  let socket;
  class Opened extends Unopened {
    constructor(...args) {
      super(...args);
      socket = this;
    }
  }
  const client = new AraClient({ url, WebSocket: Opened });
  client.connect();
  await new Promise((resolve) => setTimeout(resolve));
  socket.onmessage({ data: '{"type": "connected", "authenticated": false, "streams": {}}' });
  return { client, socket };
}

for (const data of [
  "nonsense", "", "null", "7", '"text"', "[]", "{}", '{"type": 7}', '{"type": null}', new Blob(["{}"]),
  '{"type": "ping"}', '{"type": "subscribed"}',
]) {
  test(`after ${String(data) || "an empty message"} the client connects again`, async () => {
    const { client, socket } = await greeted();
    socket.onmessage({ data });
    assert.equal(client.state.phase, "waiting");
    assert.match(client.state.reason, /not of the protocol/);
    client.close();
  });
}

test("a message of a type that is not known yet is an event, and ends nothing", async () => {
  const { client, socket } = await greeted();
  const seen = [];
  client.on("of_tomorrow", (message) => seen.push(message.text));
  socket.onmessage({ data: '{"type": "of_tomorrow", "text": "hello"}' });
  assert.deepEqual([seen, client.state.phase], [["hello"], "live"]);
  client.close();
});

test("one client opens a socket for each channel", async () => {
  const sockets = await opened({}, (client) => {
    client.channel("predictions");
    client.channel("market-data");
  });
  assert.deepEqual(sockets.map(({ address }) => address), [`${url}/market-data`, `${url}/predictions`]);
});

test("a credential is a subprotocol, whichever way it came", async () => {
  const protocols = ["ara.v1", "ara.token.abc"];
  for (const options of [
    { token: "abc" },
    { getToken: () => "abc" },
    { getToken: async () => "abc" },
    { getTicket: async () => "abc" },
  ]) {
    assert.deepEqual((await opened(options))[0].protocols, protocols);
  }
  assert.deepEqual((await opened({ getToken: async () => null }))[0].protocols, []);
});

test("channels that connect together ask for one token, but each for its ticket", async () => {
  let asked = 0;
  const get = async () => `t${(asked += 1)}`;
  const two = (client) => client.channel("alerts");
  await opened({ getToken: get }, two);
  assert.equal(asked, 1);
  await opened({ getTicket: get }, two);
  assert.equal(asked, 3);
});

test("a callback that fails is told, and tried again", async () => {
  const client = new AraClient({
    url, WebSocket: Unopened, getToken: () => Promise.reject(new Error("no session")),
  });
  const error = await new Promise((resolve) => {
    client.on("error", resolve);
    client.connect();
  });
  assert.equal(error.code, "credential_unavailable");
  assert.equal(error.message, "no session");
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(client.state.phase, "waiting");
  assert.equal(client.state.reason, "no session");
  client.close();
});

test("of several channels the state of the one that is worst off counts", () => {
  const client = new AraClient({ url, WebSocket: Unopened });
  client.channel("alerts").connect();
  assert.deepEqual([client.state.channel, client.state.phase], ["alerts", "connecting"]);
  client.close();
  assert.equal(client.state.phase, "idle");
});

test("a listener ends by the function that on returns", () => {
  const client = new AraClient({ url, WebSocket: Unopened });
  const seen = [];
  const stop = client.on("state", ({ phase }, channel) => seen.push([phase, channel]));
  client.connect();
  stop();
  client.close();
  assert.deepEqual(seen, [["connecting", "market-data"]]);
  assert.throws(() => client.on("state"), /^TypeError: listener: /);
});

test("the class of the document names a bad endpoint", () => {
  assert.throws(() => new ARAWebSocketClient("ws://localhost/ws/prices", "AAPL"), /channel: /);
  assert.throws(() => new ARAWebSocketClient(undefined, "AAPL"), /url: |channel: /);
  assert.throws(() => new ARAWebSocketClient(`${url}/predictions`, 7), /symbols: /);
});

test("a client that a listener closes while it connects opens no socket", async () => {
  const close = (client) => client.on("state", ({ phase }) => phase !== "idle" && client.close());
  assert.deepEqual(await opened({}, close), []);
});

test("a client that a listener closes while it waits does not come back", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const getToken = () => Promise.reject(new Error("no session"));
  const client = new AraClient({ url, WebSocket: Unopened, getToken });
  const phases = [];
  await new Promise((resolve) => {
    client.on("state", ({ phase }) => {
      phases.push(phase);
      if (phase === "waiting") client.close();
      if (phase === "idle") resolve();
    });
    client.connect();
  });
  t.mock.timers.tick(60_000);
  assert.deepEqual(phases, ["connecting", "waiting", "idle"]);
});
