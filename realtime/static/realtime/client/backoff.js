// How long to wait before the next attempt.

import { CloseCode, isTerminal } from "./protocol.js";

const FIRST_MS = 500;
const LONGEST_MS = 20_000;

/** Full jitter: a random time below a limit that doubles with every attempt. */
export class Backoff {
  #limit = FIRST_MS;
  #random;

  /** @param {{ random?: () => number }} [options] */
  constructor({ random = Math.random } = {}) {
    this.#random = random;
  }

  /** Milliseconds to wait before the next attempt. */
  next() {
    const limit = this.#limit;
    this.#limit = Math.min(LONGEST_MS, 2 * limit);
    return Math.round(this.#random() * limit);
  }

  reset() {
    this.#limit = FIRST_MS;
  }
}

/**
 * Milliseconds to wait before reconnecting, or null: not before something has changed.
 * `askedMs` is what the server asked for in `server_shutdown` or in `error.retry_after_ms`.
 * @param {number} code
 * @param {{ askedMs?: number | null, backoff: Backoff }} options
 */
export function delayAfterClose(code, { askedMs = null, backoff }) {
  if (code === CloseCode.LIMIT_EXCEEDED && askedMs !== null) return askedMs;
  if (isTerminal(code)) return null;
  return askedMs ?? backoff.next();
}
