// How long to wait before the next attempt.

import { CloseCode, isTerminal } from "./protocol.js";

/** Full jitter: a random time below a limit that doubles with every attempt. */
export class Backoff {
  #attempt = 0;

  /** @param {{ baseMs?: number, maxMs?: number, random?: () => number }} [options] */
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
 * @param {number} code
 * @param {{ askedMs?: number | null, backoff: Backoff }} options
 */
export function delayAfterClose(code, { askedMs = null, backoff }) {
  if (code === CloseCode.LIMIT_EXCEEDED && askedMs !== null) return askedMs;
  if (isTerminal(code)) return null;
  return askedMs ?? backoff.next();
}
