// Pure parts of the client: where each stream stands, how long to wait, what a close code means.
// No WebSocket, no timer, no clock: everything comes in as an argument.

import { CloseCode, isTerminal } from "./protocol.js";

// As many positions as fit into one message whatever the symbols; other streams send a snapshot.
const MAX_SINCE = 500;

/** Full jitter: a random time below a limit that doubles with every attempt. */
export class Backoff {
  #attempt = 0;

  constructor({ baseMs = 500, maxMs = 20_000, random = Math.random } = {}) {
    this.baseMs = baseMs;
    this.maxMs = maxMs;
    this.random = random;
  }

  /** Milliseconds to wait before the next attempt. */
  next() {
    const limit = Math.min(this.maxMs, this.baseMs * 2 ** this.#attempt);
    this.#attempt += 1;
    return Math.round(this.random() * limit);
  }

  reset() {
    this.#attempt = 0;
  }
}

/**
 * Milliseconds to wait before reconnecting, or null: not before something has changed.
 * `askedMs` is what the server asked for in `server_shutdown` or in `error.retry_after_ms`.
 */
export function delayAfterClose(code, { askedMs = null, backoff }) {
  if (code === CloseCode.LIMIT_EXCEEDED && askedMs !== null) return askedMs;
  if (isTerminal(code)) return null;
  return askedMs ?? backoff.next();
}

/**
 * The position in every stream of a connection.
 *
 * A stream that is behind is *recovering* until the answer to its `since` arrives. Meanwhile only
 * the next update in order is taken: the others come again in the replay.
 */
export class Positions {
  // name -> { epoch, offset, replayUpTo, recovering, ahead }. `epoch` is "" before a stream's first
  // update and null if it was never told; `offset` is null where whatever comes next is taken.
  #streams = new Map();

  /**
   * Take over `streams` of `connected` or `subscribed`; returns the names to ask `since` for.
   * `history`: how many earlier updates to ask for in a stream that is new here.
   */
  join(streams, history = 0) {
    const behind = [];
    for (const [name, { epoch, offset: head, recovered }] of Object.entries(streams)) {
      const known = this.#streams.get(name);
      if (known !== undefined && known.epoch === "") this.#begin(known, epoch, head);
      if (known?.epoch !== epoch) {
        const at = this.#start(name, epoch, Math.max(0, head - history));
        at.recovering = at.offset < head;
      } else if (recovered === true) {
        known.recovering = false;
        known.replayUpTo = head;
      } else {
        const missed = recovered === undefined && known.offset !== null && known.offset < head;
        if (!missed) known.offset = head;
        known.recovering = missed;
      }
      if (this.#streams.get(name).recovering) behind.push(name);
    }
    return behind;
  }

  /** The stream had no epoch when it was joined: what came since is of this one. */
  #begin(known, epoch, head) {
    known.epoch = epoch;
    if (known.offset > head) known.offset = 0; // or of one that has ended already
  }

  #start(name, epoch, offset) {
    const at = { epoch, offset, replayUpTo: 0, recovering: false, ahead: false };
    this.#streams.set(name, at);
    return at;
  }

  /**
   * Judge an update, which may stand for older ones that were `folded` into it, or `filtered` out
   * before it: `apply`; `replay`: apply, it is from the past; `drop` (seen before, or coming again
   * in the replay); or `gap`: drop it, and ask `since` for the stream. `epoch` comes with the first
   * update of a stream that is new below the wildcard.
   */
  take(name, { offset, epoch = null, folded = 0, filtered = 0, snapshot = false }) {
    if (!Number.isInteger(offset)) return "apply"; // belongs to no stream
    const at = this.#streams.get(name) ?? this.#start(name, epoch, null);
    at.epoch ??= epoch;
    if (at.offset !== null) {
      const inOrder = offset > at.offset && offset - folded - filtered <= at.offset + 1;
      if (!inOrder) {
        const old = snapshot ? offset < at.offset : offset <= at.offset;
        if (old || at.recovering) return "drop";
        if (!snapshot && at.epoch !== null) {
          at.recovering = true;
          return "gap";
        }
      }
    }
    at.offset = offset;
    return offset <= at.replayUpTo && !snapshot ? "replay" : "apply";
  }

  /**
   * Names whose position is not what `ping.heads` says. A head below ours may only be older than
   * the last update, so it has to be seen twice.
   */
  compare(heads) {
    const behind = [];
    for (const [name, head] of Object.entries(heads)) {
      const at = this.#streams.get(name);
      if (at === undefined || at.offset === null || at.epoch === null) continue;
      const wasAhead = at.ahead;
      at.ahead = head < at.offset;
      if (head > at.offset || (at.ahead && wasAhead)) {
        at.recovering = true;
        behind.push(name);
      }
    }
    return behind;
  }

  /** The server gave up on a range: go on after it. */
  skip(name, { epoch, offset }) {
    this.#start(name, epoch, offset);
  }

  /** `since` was refused: go on with whatever comes next. */
  abandon(names) {
    for (const name of names) {
      const at = this.#streams.get(name);
      if (at !== undefined) Object.assign(at, { offset: null, recovering: false });
    }
  }

  forget(names = [...this.#streams.keys()]) {
    for (const name of names) this.#streams.delete(name);
  }

  /** `since` for a `subscribe`; streams that cannot be resumed are left out. "*" is all of them. */
  since(names) {
    const entries = [];
    const wanted = names.includes("*") ? [...this.#streams.keys()].slice(0, MAX_SINCE) : names;
    for (const name of wanted) {
      const at = this.#streams.get(name);
      if (at !== undefined && at.epoch !== null && at.offset !== null) {
        // Without an epoch: everything from the first update on. What is here is dropped again.
        entries.push([name, { epoch: at.epoch, offset: at.epoch === "" ? 0 : at.offset }]);
      }
    }
    return Object.fromEntries(entries);
  }
}
