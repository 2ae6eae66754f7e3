/**
 * @typedef {object} Request
 * @property {import("./messages.js").Outgoing & { id: number }} message
 * @property {boolean} repeat it outlives the connection: it is sent again with the next one
 * @property {string[] | null} names of streams that it recovers; nobody waits for its answer
 * @property {boolean} [joins] it subscribes to them, too
 * @property {number} sentAt
 */
export class Requests {
    /** @param {import("./messages.js").Outgoing} message @param {Partial<Request>} about */
    add(message: import("./messages.js").Outgoing, about: Partial<Request>): {
        message: {
            id: number;
            type: string;
            symbols?: string[];
            since?: {
                [stream: string]: import("./messages.js").Position;
            };
        };
        /**
         * it outlives the connection: it is sent again with the next one
         */
        repeat: boolean;
        /**
         * of streams that it recovers; nobody waits for its answer
         */
        names: string[] | null;
        /**
         * it subscribes to them, too
         */
        joins?: boolean | undefined;
        sentAt: number;
    };
    /** @param {unknown} id */
    take(id: unknown): Request | undefined;
    get all(): Request[];
    /** Since when the oldest `subscribe` has waited; Infinity if none waits. */
    get subscribingSince(): number;
    #private;
}
export type Request = {
    message: import("./messages.js").Outgoing & {
        id: number;
    };
    /**
     * it outlives the connection: it is sent again with the next one
     */
    repeat: boolean;
    /**
     * of streams that it recovers; nobody waits for its answer
     */
    names: string[] | null;
    /**
     * it subscribes to them, too
     */
    joins?: boolean | undefined;
    sentAt: number;
};
