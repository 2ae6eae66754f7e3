// The conversations that every client has to lead: tests/wire_examples_resume.json says how to read
// them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Backoff } from "../../realtime/static/realtime/client/backoff.js";
import { recorded } from "./recorded.mjs";

const path = new URL("../wire_examples_resume.json", import.meta.url);
const { beginnings, conversations, event_types: eventTypes } = JSON.parse(readFileSync(path));

/** What the client did in one step, in the words of the file. */
function outcome(effects, ids) {
  const of = (what) => effects.filter((effect) => effect.do === what);
  const events = of("emit").filter(({ detail }) => eventTypes.includes(detail.type));
  return {
    send: of("send").map(({ message }) => withLabel(message, ids)),
    events: events.map(({ detail }) => detail),
    wait_ms: of("wait")[0]?.ms,
  };
}

function withLabel(message, ids) {
  if (message.id === undefined) return message;
  if (!ids.has(message.id)) ids.set(message.id, `#${ids.size + 1}`);
  return { ...message, id: ids.get(message.id) };
}

function withId(message, ids) {
  const known = [...ids].find(([, label]) => label === message.id);
  return known === undefined ? message : { ...message, id: known[0] };
}

function take(session, step, now, ids) {
  if (step.start) return session.start(now);
  if (step.subscribe) return session.subscribe(step.subscribe, now);
  if (step.unsubscribe) return session.unsubscribe(step.unsubscribe, now);
  if (step.close) return session.dropped({ reason: "", ...step.close }, now);
  if (step.tick) return session.tick(now);
  return session.received(withId(step.receive, ids), now);
}

function check(step, done, phase) {
  assert.deepEqual(done.send, step.send ?? []);
  const expected = step.events ?? [];
  const named = done.events.map((event, n) => pick(event, Object.keys(expected[n] ?? event)));
  assert.deepEqual(named, expected.map((event) => ({ replayed: false, ...event })));
  assert.equal(done.wait_ms, step.wait_ms);
  if (step.phase) assert.equal(phase, step.phase);
}

function pick(event, names) {
  const fields = names.map((name) => [name, event[name]]);
  return { ...Object.fromEntries(fields), replayed: event.replayed ?? false };
}

for (const { name, channel, after, history, since = {}, renews, jitter = 1, steps } of conversations) {
  test(name, () => {
    const backoff = new Backoff({ random: () => jitter });
    const session = recorded({ channel, history, renews, backoff });
    session.begin(Object.entries(since));
    const ids = new Map();
    let now = 0;
    for (const step of [...(beginnings[after] ?? []), ...steps]) {
      now = step.at_ms ?? now;
      check(step, outcome(take(session, step, now, ids), ids), session.phase);
    }
  });
}
