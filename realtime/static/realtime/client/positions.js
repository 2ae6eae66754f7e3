// Where each stream stands, and what an update means there. No WebSocket, no timer, no clock.

// As many positions as fit into one message whatever the symbols; other streams send a snapshot.
const MAX_SINCE = 500;
// What the server replays of one stream.
const MAX_REPLAYED = 300;

/**
 * `epoch` is "" before a stream's first update and null if it was never told; `offset` is null where
 * whatever comes next is taken; `past`: the position is before the subscription, for the sake of its
 * history.
 * @typedef {{ epoch: string | null, offset: number | null, replayUpTo?: number, recovering?: boolean, past?: boolean, ahead?: boolean }} Place
 * @typedef {{ from_offset: number, to_offset: number, epoch: string }} Lost
 */

/**
 * The position in every stream of a connection.
 *
 * A stream that is behind is *recovering* until the answer to its `since` arrives. Meanwhile only
 * the next update in order is taken: the others come again in the replay.
 */
export class Positions {
  /** @type {Map<string, Place>} */
  #streams = new Map();

  /**
   * Take over `streams` of `connected` or `subscribed`. Returns the names to ask `since` for, and
   * what cannot be had any more: `lost`, as `gap` messages.
   * `history`: how many earlier updates to ask for in a stream that is new here.
   * @param {import("./messages.js").Streams} streams
   */
  join(streams, history = 0) {
    /** @type {{ behind: string[], lost: import("./messages.js").Gap[] }} */
    const result = { behind: [], lost: [] };
    // What was too much for one answer may be had by the next; each one brings some.
    const partial = Object.values(streams).some(({ recovered }) => recovered === true);
    for (const [name, info] of Object.entries(streams)) {
      const lost = this.#joinOne(name, info, history, partial);
      if (lost !== null) result.lost.push({ type: "gap", symbol: name, ...lost });
      if (this.#streams.get(name)?.recovering) result.behind.push(name);
    }
    return result;
  }

  /**
   * @param {string} name @param {import("./messages.js").StreamInfo} info
   * @param {number} history @param {boolean} partial
   * @returns {Lost | null}
   */
  #joinOne(name, { epoch, offset: head, recovered }, history, partial) {
    const known = this.#streams.get(name);
    if (known?.epoch === "") {
      // The stream had no epoch when it was joined: what came since is of this one,
      known.epoch = epoch;
      if ((known.offset ?? 0) > head) known.offset = 0; // or of one that has ended already
    }
    if (known?.epoch !== epoch) {
      const at = this.start(name, epoch, Math.max(0, head - history));
      at.recovering = at.past = history > 0 && head > 0;
      return known?.epoch ? { from_offset: 1, to_offset: at.offset ?? 0, epoch } : null;
    }
    const { past } = known;
    const offset = known.offset ?? head;
    const missed = offset < head;
    const held = head - offset <= MAX_REPLAYED;
    known.recovering = missed && (recovered === undefined || (!recovered && partial && held));
    if (known.recovering) return null;
    known.past = false;
    if (recovered === true) known.replayUpTo = head;
    else known.offset = head;
    return missed && !recovered && !past ? { from_offset: offset + 1, to_offset: head, epoch } : null;
  }

  /** Where a stream is to begin, unless it stands somewhere already.
   * @param {string} name @param {import("./messages.js").Position} position */
  begin(name, { epoch, offset }) {
    if (!this.#streams.has(name)) this.start(name, epoch, offset);
  }

  /** Go on from here, whatever was before: the server gave up on a range, or the stream is new.
   * @param {string} name @param {string | null} epoch @param {number | null} offset */
  start(name, epoch, offset) {
    /** @type {Place} */
    const at = { epoch, offset };
    this.#streams.set(name, at);
    return at;
  }

  /**
   * Judge an update, which may stand for older ones that were `folded` into it, or `filtered` out
   * before it: `apply`; `replay`: apply, it is from the past; `drop` (seen before, or coming again
   * in the replay); or `gap`: drop it, and ask `since` for the stream. `epoch` comes with the first
   * update of a stream that is new below the wildcard.
   * @param {string} name
   * @param {{ offset?: number, epoch?: string | null, folded?: number, filtered?: number, snapshot?: boolean }} update
   * @returns {"apply" | "replay" | "drop" | "gap"}
   */
  take(name, { offset, epoch = null, folded = 0, filtered = 0, snapshot }) {
    if (offset === undefined) return "apply"; // belongs to no stream
    const at = this.#streams.get(name) ?? this.start(name, epoch, null);
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
    return offset <= (at.replayUpTo ?? 0) && !snapshot ? "replay" : "apply";
  }

  /**
   * Names whose position is not what `ping.heads` says. A head below ours may only be older than
   * the last update, so it has to be seen twice.
   * @param {{ [name: string]: number }} heads
   */
  compare(heads) {
    return Object.keys(heads).filter((name) => {
      const at = this.#streams.get(name);
      if (at?.epoch == null || at.offset === null) return false;
      const wasAhead = at.ahead;
      at.ahead = heads[name] < at.offset;
      const wrong = heads[name] > at.offset || (at.ahead && wasAhead);
      if (wrong) at.recovering = true;
      return wrong;
    });
  }

  /** `since` was refused: go on with whatever comes next. @param {string[]} names */
  abandon(names) {
    for (const name of names) {
      const at = this.#streams.get(name);
      if (at) Object.assign(at, { offset: null, recovering: false });
    }
  }

  /** @param {string[]} names */
  forget(names) {
    for (const name of names) this.#streams.delete(name);
  }

  /** `since` for a `subscribe`; streams that cannot be resumed are left out. "*" is all of them.
   * @param {string[]} names @returns {{ [name: string]: import("./messages.js").Position }} */
  since(names) {
    /** @type {{ [name: string]: import("./messages.js").Position }} */
    const since = {};
    const wanted = names.includes("*") ? [...this.#streams.keys()].slice(0, MAX_SINCE) : names;
    for (const name of wanted) {
      const at = this.#streams.get(name);
      if (at?.epoch == null || at.offset === null) continue;
      // Without an epoch: everything from the first update on. What is here is dropped again.
      since[name] = { epoch: at.epoch, offset: at.epoch === "" ? 0 : at.offset };
    }
    return since;
  }
}
