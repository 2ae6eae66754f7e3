/** Why a callback is asked: the socket is to be opened, or the token of an open one has expired.
 * @typedef {"connect" | "expiring"} Occasion */
/** @typedef {(about: { reason: Occasion }) => string | null | Promise<string | null>} Callback */
export class Credentials {
    /** @param {{ token?: string | null, getToken?: Callback, getTicket?: Callback }} options */
    constructor({ token, getToken, getTicket }: {
        token?: string | null;
        getToken?: Callback;
        getTicket?: Callback;
    });
    /** Can there be another credential than the one that was refused? */
    get renews(): boolean;
    /** @param {unknown} token */
    keep(token: unknown): void;
    /** The subprotocols that carry the credential: no log and no address has it then. */
    protocols(): Promise<string[]>;
    /** A token, or a ticket; channels that need a token at the same time share one question.
     * @param {Occasion} reason @returns {Promise<string>} */
    fresh(reason: Occasion): Promise<string>;
    #private;
}
/**
 * Why a callback is asked: the socket is to be opened, or the token of an open one has expired.
 */
export type Occasion = "connect" | "expiring";
export type Callback = (about: {
    reason: Occasion;
}) => string | null | Promise<string | null>;
