// Run by tests/test_javascript_client.py against a server: node live_client.mjs CASE URL [TOKEN…]
import assert from "node:assert/strict";

import { AraClient } from "../../realtime/static/realtime/client/index.js";

const [what, url, ...tokens] = process.argv.slice(2);
const next = (client, type, accept = () => true) =>
  new Promise((resolve) => {
    client.addEventListener(type, function listen({ detail }) {
      if (!accept(detail)) return;
      client.removeEventListener(type, listen);
      resolve(detail);
    });
  });
const live = (client) => next(client, "state", ({ phase }) => phase === "live");
const market = (options) => new AraClient({ channel: "market-data", url, ...options });

const CASES = {
  /** A port that nobody listens on is known to be closed long before the time limit of a connect. */
  async refused() {
    const client = market();
    const began = performance.now();
    client.connect();
    await next(client, "state", ({ phase }) => phase === "waiting");
    assert.ok(performance.now() - began < 5_000);
    client.close();
  },

  /** A socket that is opened after `authenticate` uses the newer token. */
  async refresh() {
    const client = market();
    client.setToken(tokens[0]);
    await live(client);
    await client.authenticate(tokens[1]);
    const first = (await client.status()).credential.expires_at;
    client.close();
    client.connect();
    await live(client);
    assert.equal((await client.status()).credential.expires_at, first);
    client.close();
  },

  /** A key for MSFT only: the symbols that it allows are there although others are forbidden. */
  async narrowed() {
    const client = market({ symbols: ["AAPL", "MSFT", "IBM"] });
    client.setToken(tokens[0]);
    const answer = await next(client, "subscribed");
    assert.deepEqual(answer.symbols, ["MSFT"]);
    client.close();
  },

  /** After a refusal a token that is accepted is enough. */
  async mended() {
    const client = market({ token: "ara_0000.wrong" });
    client.connect();
    await next(client, "state", ({ phase }) => phase === "closed");
    assert.equal(await client.authenticate(tokens[0]), null);
    const state = await next(client, "state", ({ phase }) => phase === "live");
    assert.equal(state.authenticated, true);
    client.close();
  },

  async symbols() {
    const client = market({ symbols: "IBM" });
    client.connect();
    await live(client);
    assert.deepEqual((await client.subscribe("AAPL")).symbols.sort(), ["AAPL", "IBM"]);
    await client.subscribe(new Set(["MSFT"]));
    assert.deepEqual((await client.unsubscribe("MSFT")).symbols.sort(), ["AAPL", "IBM"]);
    for (const wrong of [7, null, undefined, {}, [7], [["AAPL"]]]) {
      assert.throws(() => client.subscribe(wrong), TypeError);
      assert.throws(() => client.unsubscribe(wrong), TypeError);
      assert.throws(() => client.acknowledge(wrong), TypeError);
    }
    client.close();
  },
};

setTimeout(() => assert.fail(`${what} took too long`), 20_000).unref();
await CASES[what]();
