import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff, delayAfterClose } from "../../realtime/static/realtime/client/backoff.js";
import { Positions } from "../../realtime/static/realtime/client/positions.js";
import { closeCodeName } from "../../realtime/static/realtime/advice.js";
import { CloseCode } from "../../realtime/static/realtime/client/protocol.js";

function joined(streams = { AAPL: { epoch: "e", offset: 5 } }, history = 0) {
  const positions = new Positions();
  positions.join(streams, history);
  return positions;
}

test("the limit of the backoff doubles up to its maximum", () => {
  const backoff = new Backoff({ random: () => 1 });
  const waits = Array.from({ length: 8 }, () => backoff.next());
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
});

test("jitter is full: a wait may be anything from zero on", () => {
  const waits = [0, 0.5, 0.999].map((random) => new Backoff({ random: () => random }).next());
  assert.deepEqual(waits, [0, 250, 500]);
});

test("a reset backoff begins again", () => {
  const backoff = new Backoff({ random: () => 1 });
  backoff.next();
  backoff.next();
  backoff.reset();
  assert.equal(backoff.next(), 500);
});

test("no 44xx is reconnected", () => {
  const backoff = new Backoff();
  for (const code of [4400, 4401, 4403, 4404, 4408, 4429, 4499]) {
    assert.equal(delayAfterClose(code, { backoff }), null, String(code));
  }
});

test("every other code is reconnected with backoff", () => {
  for (const code of [1000, 1001, 1006, 1009, 1011, 1012, 4000, 4500, 4504, 4508]) {
    const backoff = new Backoff({ random: () => 0.5 });
    assert.equal(delayAfterClose(code, { backoff }), 250, String(code));
  }
});

test("a restarting server says when to come back", () => {
  const backoff = new Backoff();
  assert.equal(delayAfterClose(CloseCode.SERVICE_RESTART, { askedMs: 1730, backoff }), 1730);
});

test("a connection limit is tried again only when the server said when", () => {
  const backoff = new Backoff();
  assert.equal(delayAfterClose(CloseCode.LIMIT_EXCEEDED, { askedMs: 5000, backoff }), 5000);
  assert.equal(delayAfterClose(CloseCode.LIMIT_EXCEEDED, { backoff }), null);
});

test("close codes have names, and unknown ones do not", () => {
  assert.equal(closeCodeName(4401), "unauthorized");
  assert.equal(closeCodeName(1006), "");
});

test("updates in order are applied", () => {
  const positions = joined();
  assert.equal(positions.take("AAPL", { offset: 6 }), "apply");
  assert.equal(positions.take("AAPL", { offset: 7 }), "apply");
  assert.deepEqual(positions.since(["AAPL"]), { AAPL: { epoch: "e", offset: 7 } });
});

test("an update seen before is dropped", () => {
  assert.equal(joined().take("AAPL", { offset: 5 }), "drop");
});

test("the snapshot after joining is applied though its offset is the head", () => {
  assert.equal(joined().take("AAPL", { offset: 5, snapshot: true }), "apply");
});

test("a snapshot older than the position is dropped", () => {
  assert.equal(joined().take("AAPL", { offset: 4, snapshot: true }), "drop");
});

test("a jump is a gap, once", () => {
  const positions = joined();
  assert.equal(positions.take("AAPL", { offset: 8 }), "gap");
  assert.equal(positions.take("AAPL", { offset: 9 }), "drop");
  assert.deepEqual(positions.since(["AAPL"]), { AAPL: { epoch: "e", offset: 5 } });
});

test("the replay closes a gap, and its end is not applied twice", () => {
  const positions = joined();
  positions.take("AAPL", { offset: 8 });
  assert.deepEqual(positions.join({ AAPL: { epoch: "e", offset: 9, recovered: true } }).behind, []);
  const verdicts = [6, 7, 8, 9, 10, 10].map((offset) => positions.take("AAPL", { offset }));
  assert.deepEqual(verdicts, ["replay", "replay", "replay", "replay", "apply", "drop"]);
});

test("a jump that folding covers is not a gap", () => {
  assert.equal(joined().take("AAPL", { offset: 9, folded: 3 }), "apply");
  assert.equal(joined().take("AAPL", { offset: 9, folded: 2 }), "gap");
});

test("a jump that a filter covers is not a gap", () => {
  const positions = joined({ all: { epoch: "e", offset: 5 } });
  assert.equal(positions.take("all", { offset: 9, filtered: 3 }), "apply");
});

test("an update without an offset belongs to no stream", () => {
  const positions = joined();
  assert.equal(positions.take("AAPL", {}), "apply");
  assert.deepEqual(positions.since(["AAPL"]), { AAPL: { epoch: "e", offset: 5 } });
});

test("what could not be recovered goes on with the snapshot", () => {
  const positions = joined();
  positions.take("AAPL", { offset: 900 });
  assert.deepEqual(positions.join({ AAPL: { epoch: "e", offset: 901, recovered: false } }).behind, []);
  assert.equal(positions.take("AAPL", { offset: 901, snapshot: true }), "apply");
  assert.equal(positions.take("AAPL", { offset: 902 }), "apply");
});

test("a new epoch starts at its own numbers", () => {
  const positions = joined({ AAPL: { epoch: "e", offset: 500 } });
  assert.deepEqual(positions.join({ AAPL: { epoch: "f", offset: 2, recovered: false } }).behind, []);
  assert.equal(positions.take("AAPL", { offset: 2, snapshot: true }), "apply");
  assert.equal(positions.take("AAPL", { offset: 3 }), "apply");
});

test("a stream joined by the URL again asks only for what was missed", () => {
  const positions = joined({ all: { epoch: "e", offset: 5 }, user: { epoch: "e", offset: 1 } });
  const streams = { all: { epoch: "e", offset: 7 }, user: { epoch: "e", offset: 1 } };
  assert.deepEqual(positions.join(streams).behind, ["all"]);
  assert.deepEqual(positions.since(["all"]), { all: { epoch: "e", offset: 5 } });
});

test("history asks for earlier updates of a new stream, and not for more than there are", () => {
  const positions = new Positions();
  const at = (offset) => ({ epoch: "e", offset });
  const streams = { A: at(100), B: at(3), C: at(0) };
  assert.deepEqual(positions.join(streams, 20).behind, ["A", "B"]);
  assert.deepEqual(positions.since(["A", "B", "C"]), {
    A: at(80),
    B: at(0),
    C: at(0),
  });
});

test("a snapshot does not overtake the history that was asked for", () => {
  const positions = joined({ AAPL: { epoch: "e", offset: 5 } }, 3);
  assert.equal(positions.take("AAPL", { offset: 5, snapshot: true }), "drop");
  positions.join({ AAPL: { epoch: "e", offset: 5, recovered: true } }, 3);
  for (const offset of [3, 4, 5]) assert.equal(positions.take("AAPL", { offset }), "replay");
});

test("history that is no longer held is asked for once", () => {
  const positions = joined({ AAPL: { epoch: "e", offset: 500 } }, 50);
  const answer = { AAPL: { epoch: "e", offset: 500, recovered: false } };
  assert.deepEqual(positions.join(answer, 50).behind, []);
  assert.equal(positions.take("AAPL", { offset: 500, snapshot: true }), "apply");
});

test("a head beyond the position is a lost tail", () => {
  const positions = joined();
  assert.deepEqual(positions.compare({ AAPL: 5 }), []);
  assert.deepEqual(positions.compare({ AAPL: 6 }), ["AAPL"]);
});

test("a head below the position counts the second time", () => {
  const positions = joined();
  assert.deepEqual(positions.compare({ AAPL: 4 }), []);
  assert.deepEqual(positions.compare({ AAPL: 4 }), ["AAPL"]);
});

test("heads of streams that are not followed are passed over", () => {
  assert.deepEqual(joined().compare({ MSFT: 9 }), []);
});

test("after a gap for good the stream goes on behind it", () => {
  const positions = joined();
  positions.start("AAPL", "f", 60);
  assert.equal(positions.take("AAPL", { offset: 60, snapshot: true }), "apply");
  assert.deepEqual(positions.since(["AAPL"]), { AAPL: { epoch: "f", offset: 60 } });
});

test("where since is refused whatever comes next is taken", () => {
  const positions = joined();
  positions.take("AAPL", { offset: 8 });
  positions.abandon(["AAPL"]);
  assert.deepEqual(positions.since(["AAPL"]), {});
  assert.equal(positions.take("AAPL", { offset: 11 }), "apply");
  assert.equal(positions.take("AAPL", { offset: 12 }), "apply");
});

test("a stream whose epoch was never told is followed, but cannot be resumed", () => {
  const positions = new Positions();
  assert.equal(positions.take("TSLA", { offset: 7 }), "apply");
  assert.equal(positions.take("TSLA", { offset: 9 }), "apply");
  assert.deepEqual(positions.since(["TSLA"]), {});
});

test("a stream that is new below the wildcard is resumed by the epoch of its first update", () => {
  const positions = joined();
  assert.equal(positions.take("TSLA", { offset: 1, epoch: "t" }), "apply");
  assert.equal(positions.take("TSLA", { offset: 2 }), "apply");
  assert.equal(positions.take("TSLA", { offset: 4 }), "gap");
  assert.deepEqual(positions.since(["*"]).TSLA, { epoch: "t", offset: 2 });
  assert.deepEqual(Object.keys(positions.since(["*"])), ["AAPL", "TSLA"]);
});

test("the positions below the wildcard fit into one message", () => {
  const positions = new Positions();
  for (let n = 0; n < 3000; n += 1) {
    positions.take(`SYMBOL-OF-THIRTYTWO-LETTERS-${n}`, { offset: 1, epoch: "abcdefgh" });
  }
  assert.ok(JSON.stringify(positions.since(["*"])).length < 60_000);
});

test("a stream that begins while it is followed is resumed from its beginning", () => {
  const positions = joined({ AAPL: { epoch: "", offset: 0 } });
  assert.equal(positions.take("AAPL", { offset: 1 }), "apply");
  assert.equal(positions.take("AAPL", { offset: 2 }), "apply");
  assert.deepEqual(positions.since(["AAPL"]), { AAPL: { epoch: "", offset: 0 } });
  assert.deepEqual(positions.join({ AAPL: { epoch: "e", offset: 3, recovered: true } }).behind, []);
  const verdicts = [1, 2, 3, 4].map((offset) => positions.take("AAPL", { offset }));
  assert.deepEqual(verdicts, ["drop", "drop", "replay", "apply"]);
  assert.deepEqual(positions.since(["AAPL"]), { AAPL: { epoch: "e", offset: 4 } });
});

test("a stream that began and ended unseen starts at its first update", () => {
  const positions = joined({ AAPL: { epoch: "", offset: 0 } });
  positions.take("AAPL", { offset: 1 });
  positions.take("AAPL", { offset: 2 });
  positions.join({ AAPL: { epoch: "f", offset: 1, recovered: true } });
  assert.equal(positions.take("AAPL", { offset: 1 }), "replay");
});
