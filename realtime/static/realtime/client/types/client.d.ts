export class AraClient extends Emitter {
    /** @param {ClientOptions & import("./channel.js").ChannelOptions} [options] */
    constructor(options?: ClientOptions & import("./channel.js").ChannelOptions);
    /** A channel of this client, which is made with its first mention.
     * @param {ChannelName} name @param {import("./channel.js").ChannelOptions} [options] */
    channel(name: ChannelName, { symbols, history, since }?: import("./channel.js").ChannelOptions): Channel;
    /** The state of its channel; of several, of the one that is worst off. */
    get state(): import("./messages.js").StateMessage;
    /** Connect now; while waiting to reconnect, do not wait any longer. */
    connect(): void;
    close(): void;
    /** A JWT, an API key, or "" for none: connects again with it. @param {string | null} token */
    setToken(token: string | null): void;
    /**
     * Extends the session with a fresh token of the same user, which later connections use too.
     * Resolves with the last answer, or null if no channel is connected.
     * @param {string} token
     */
    authenticate(token: string): Promise<import("./messages.js").Authenticated | null>;
    /** Adds symbols to the first channel, or to the one that is named.
     * @param {Names} symbols @param {ChannelName} [channel] */
    subscribe(symbols: Names, channel?: ChannelName): Promise<import("./messages.js").Subscribed>;
    /** @param {Names} symbols @param {ChannelName} [channel] */
    unsubscribe(symbols: Names, channel?: ChannelName): Promise<import("./messages.js").Unsubscribed>;
    /** @param {ChannelName} [channel] */
    status(channel?: ChannelName): Promise<import("./messages.js").Status>;
    /** Resolves with `prediction_requested`; the prediction itself arrives as an update.
     * @param {string} symbol @param {number} [horizon] in steps
     * @returns {Promise<import("./messages.js").PredictionRequested>} */
    requestPrediction(symbol: string, horizon?: number): Promise<import("./messages.js").PredictionRequested>;
    /** @param {Names} ids @returns {Promise<import("./messages.js").Acked>} */
    acknowledge(ids: Names): Promise<import("./messages.js").Acked>;
    /** @param {import("./messages.js").AlertConfig} config
     * @returns {Promise<import("./messages.js").AlertsConfigured>} */
    configureAlerts(config: import("./messages.js").AlertConfig): Promise<import("./messages.js").AlertsConfigured>;
    #private;
}
export type ChannelName = import("./messages.js").ChannelName;
export type Names = import("./arguments.js").Names;
export type ClientOptions = {
    /**
     * the first channel: "market-data" unless you say otherwise
     */
    channel?: import("./messages.js").ChannelName | undefined;
    /**
     * where the server has its WebSockets: `wss://example.com/ws`; in a page
     * from the same server it can be left out
     */
    url?: string | undefined;
    /**
     * a JWT or an API key
     */
    token?: string | null | undefined;
    /**
     * asked before each connect, and when the
     * token of an open socket has expired
     */
    getToken?: import("./credentials.js").Callback | undefined;
    /**
     * the same, for one-use tickets
     */
    getTicket?: import("./credentials.js").Callback | undefined;
    /**
     * where the runtime has none
     */
    WebSocket?: import("./messages.js").SocketClass | undefined;
};
import { Emitter } from "./emitter.js";
import { Channel } from "./channel.js";
