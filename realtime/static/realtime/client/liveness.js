// Whether a silent connection still lives: after some seconds without a message the server is
// asked, and has to answer in time. Streams that usually say something sooner are asked about
// sooner. No timer, no clock: `nowMs` comes from one monotonic clock.

const QUIET_MS = 4_000; // the longest silence before the server is asked
const SHORTEST_QUIET_MS = 1_000;
const ANSWER_LIMIT_MS = 4_000;
const LATE_MS = 1_000; // a timer that comes later was held up, and so were the messages

export class Liveness {
  #heardAt;
  /** @type {number | null} */
  #askedAt = null;
  #spacing = QUIET_MS; // the longest of the latest spacings between two messages

  /** @param {number} nowMs */
  constructor(nowMs) {
    this.#heardAt = nowMs;
  }

  /** When to look again. */
  get dueMs() {
    if (this.#askedAt !== null) return this.#askedAt + ANSWER_LIMIT_MS;
    const usual = Math.max(SHORTEST_QUIET_MS, 3 * this.#spacing);
    return this.#heardAt + Math.min(QUIET_MS, usual);
  }

  /** @param {number} nowMs */
  heard(nowMs) {
    this.#spacing = Math.max(nowMs - this.#heardAt, 0.9 * this.#spacing);
    this.#heardAt = nowMs;
    this.#askedAt = null;
  }

  /** Ask now, whatever the time; true unless that has been done. @param {number} nowMs */
  ask(nowMs) {
    if (this.#askedAt !== null) return false;
    this.#askedAt = nowMs;
    return true;
  }

  /** @param {number} nowMs @returns {"" | "ask" | "dead"} */
  look(nowMs) {
    const late = nowMs - this.dueMs;
    if (late < 0) return "";
    if (this.#askedAt !== null && late < LATE_MS) return "dead";
    this.#askedAt = nowMs;
    return "ask";
  }
}
