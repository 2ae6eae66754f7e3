/** @typedef {import("./messages.js").StateMessage} StateMessage */
/** @typedef {import("./arguments.js").Names} Names */
/**
 * @typedef {object} ChannelOptions
 * @property {Names} [symbols] to subscribe to
 * @property {number} [history] how many earlier updates of each stream to fetch first, at most 300
 * @property {import("./messages.js").Since} [since] where streams begin: after these positions
 */
/** @typedef {{ url: () => string, credentials: import("./credentials.js").Credentials, WebSocket?: import("./messages.js").SocketClass, parent: Emitter }} Shared */
export class Channel extends Emitter {
    /** Made by `client.channel(name)`.
     * @param {import("./messages.js").ChannelName} name @param {number} history @param {Shared} shared */
    constructor(name: import("./messages.js").ChannelName, history: number, shared: Shared);
    name: import("./messages.js").ChannelName;
    /** @type {StateMessage} */
    state: StateMessage;
    get connected(): boolean;
    /** How far each stream was read: what `since` takes. */
    get positions(): {
        [name: string]: import("./messages.js").Position;
    };
    /** The socket of the moment; null if there is none. */
    get socket(): import("./messages.js").Socket | null;
    /** Connect now; while waiting to reconnect, do not wait any longer. */
    connect(): void;
    close(): void;
    /** Connect again, as another user. */
    restart(): void;
    /**
     * Adds symbols, a string or an array of strings; resolves with `subscribed`, also after a
     * reconnect; rejects with AraError. Throws TypeError for anything else.
     * @param {Names} symbols @returns {Promise<import("./messages.js").Subscribed>}
     */
    subscribe(symbols: Names): Promise<import("./messages.js").Subscribed>;
    /** Subscribes to those that the credential allows; what fails comes as the event `error`.
     * @param {Names} symbols @param {import("./messages.js").Since} [since] where they begin */
    follow(symbols: Names, since?: import("./messages.js").Since): void;
    /** @param {Names} symbols @returns {Promise<import("./messages.js").Unsubscribed>} */
    unsubscribe(symbols: Names): Promise<import("./messages.js").Unsubscribed>;
    /** Any request of the protocol, without its `id`; resolves with the answer.
     * @param {import("./messages.js").Outgoing} message @returns {Promise<any>} */
    request(message: import("./messages.js").Outgoing): Promise<any>;
    /** What the server knows of this socket. @returns {Promise<import("./messages.js").Status>} */
    status(): Promise<import("./messages.js").Status>;
    #private;
}
export type StateMessage = import("./messages.js").StateMessage;
export type Names = import("./arguments.js").Names;
export type ChannelOptions = {
    /**
     * to subscribe to
     */
    symbols?: import("./arguments.js").Names | undefined;
    /**
     * how many earlier updates of each stream to fetch first, at most 300
     */
    history?: number | undefined;
    /**
     * where streams begin: after these positions
     */
    since?: import("./messages.js").Since | undefined;
};
export type Shared = {
    url: () => string;
    credentials: import("./credentials.js").Credentials;
    WebSocket?: import("./messages.js").SocketClass;
    parent: Emitter;
};
import { Emitter } from "./emitter.js";
