/**
 * @typedef {object} About
 * @property {boolean} [repeat] it outlives the connection: it is sent again with the next one
 * @property {string[]} [names] of streams that it recovers; nobody waits for its answer
 * @property {boolean} [joins] it subscribes to them, too
 */
/** @typedef {About & { message: import("./messages.js").Outgoing & { id: number }, sentAt: number }} Request */
export class Requests {
    /** @param {import("./messages.js").Outgoing} message @param {About} [about] */
    add(message: import("./messages.js").Outgoing, about?: About): Request;
    /** @param {unknown} id */
    take(id: unknown): Request | undefined;
    get all(): Request[];
    /** Since when the oldest `subscribe` has waited; Infinity if none waits. */
    get subscribingSince(): number;
    #private;
}
export type About = {
    /**
     * it outlives the connection: it is sent again with the next one
     */
    repeat?: boolean | undefined;
    /**
     * of streams that it recovers; nobody waits for its answer
     */
    names?: string[] | undefined;
    /**
     * it subscribes to them, too
     */
    joins?: boolean | undefined;
};
export type Request = About & {
    message: import("./messages.js").Outgoing & {
        id: number;
    };
    sentAt: number;
};
