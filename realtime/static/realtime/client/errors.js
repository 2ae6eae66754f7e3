/** `code` of an AraError that is not the server's: there was no connection, or it was lost. */
export const NOT_CONNECTED = "not_connected";

/** Raised for a request that failed: an error message of the server, or the loss of the socket. */
export class AraError extends Error {
  /** @param {{ code: string, message: string, details?: { [field: string]: unknown } | null, retry?: boolean, retry_after_ms?: number | null }} message */
  constructor({ code, message, details = null, retry = false, retry_after_ms: wait = null }) {
    super(message);
    this.name = "AraError";
    this.code = code;
    this.details = details;
    this.retry = retry;
    this.retryAfterMs = wait;
  }
}

/** The symbols of an error that the credential does not allow.
 * @param {{ code: string, details?: any }} error @returns {string[]} */
export function forbiddenSymbols({ code, details }) {
  return code === "forbidden" ? Object.keys(details?.symbols ?? {}) : [];
}
