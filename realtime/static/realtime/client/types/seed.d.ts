export class ARAWebSocketClient {
    /**
     * @param {string} endpoint such as `ws://localhost:8000/ws/predictions`
     * @param {string} symbol
     * @param {string | null} [token] a JWT or an API key
     * @param {Pick<import("./client.js").ClientOptions, "getToken" | "getTicket" | "WebSocket">} [options]
     */
    constructor(endpoint: string, symbol: string, token?: string | null, options?: Pick<import("./client.js").ClientOptions, "getToken" | "getTicket" | "WebSocket">);
    endpoint: string;
    symbol: string;
    token: string | null;
    /** The socket of the moment; null if there is none. */
    get ws(): import("./messages.js").Socket | null;
    connect(): void;
    /** @param {import("./messages.js").ServerMessage} message */
    handleMessage(message: import("./messages.js").ServerMessage): void;
    /** @param {import("./messages.js").PredictionUpdate["data"]} data */
    onPredictionUpdate(data: import("./messages.js").PredictionUpdate["data"]): void;
    /** Follow this symbol in the place of the one before. @param {string} newSymbol */
    subscribe(newSymbol: string): void;
    disconnect(): void;
    #private;
}
