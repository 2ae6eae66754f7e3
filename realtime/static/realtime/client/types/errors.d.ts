/** The symbols of an error that the credential does not allow.
 * @param {{ code: string, details?: any }} error @returns {string[]} */
export function forbiddenSymbols({ code, details }: {
    code: string;
    details?: any;
}): string[];
/** `code` of an AraError that is not the server's: there was no connection, or it was lost. */
export const NOT_CONNECTED: "not_connected";
/** Raised for a request that failed: an error message of the server, or the loss of the socket. */
export class AraError extends Error {
    /** @param {{ code: string, message: string, details?: { [field: string]: unknown } | null, retry?: boolean, retry_after_ms?: number | null }} message */
    constructor({ code, message, details, retry, retry_after_ms: wait }: {
        code: string;
        message: string;
        details?: {
            [field: string]: unknown;
        } | null;
        retry?: boolean;
        retry_after_ms?: number | null;
    });
    code: string;
    details: {
        [field: string]: unknown;
    } | null;
    retry: boolean;
    retryAfterMs: number | null;
}
