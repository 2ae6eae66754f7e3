/**
 * Milliseconds to wait before reconnecting, or null: not before something has changed.
 * `askedMs` is what the server asked for in `server_shutdown` or in `error.retry_after_ms`.
 * @param {number} code
 * @param {{ askedMs?: number | null, backoff: Backoff }} options
 */
export function delayAfterClose(code: number, { askedMs, backoff }: {
    askedMs?: number | null;
    backoff: Backoff;
}): number | null;
/** Full jitter: a random time below a limit that doubles with every attempt. */
export class Backoff {
    /** @param {{ random?: () => number }} [options] */
    constructor({ random }?: {
        random?: () => number;
    });
    /** Milliseconds to wait before the next attempt. */
    next(): number;
    reset(): void;
    #private;
}
