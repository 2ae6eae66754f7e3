export type ChannelName = "predictions" | "market-data" | "alerts";
export type Position = {
    epoch: string;
    offset: number;
};
export type StreamInfo = {
    epoch: string;
    offset: number;
    recovered?: boolean;
    replayed?: number;
};
export type Streams = {
    [stream: string]: StreamInfo;
};
export type Since = {
    [stream: string]: Position;
};
export type Id = string | number;
/**
 * What a publisher of market data sends; every other field is possible, too.
 */
export type MarketData = {
    price?: number | undefined;
    volume?: number | null | undefined;
    timestamp?: string | undefined;
    bid?: number | null | undefined;
    ask?: number | null | undefined;
    source?: string | undefined;
};
/**
 * What a publisher of predictions sends; every other field is possible, too.
 */
export type Prediction = {
    predicted_price?: number | undefined;
    lower_bound?: number | undefined;
    upper_bound?: number | undefined;
    /**
     * between 0 and 1
     */
    confidence?: number | undefined;
    /**
     * in steps
     */
    horizon?: number | undefined;
    model?: string | undefined;
    timestamp?: string | undefined;
    prediction_id?: string | undefined;
    valid_until?: string | undefined;
};
export type Severity = "low" | "medium" | "high" | "critical";
/**
 * What a publisher of alerts sends; every other field is possible, too.
 */
export type AlertData = {
    type?: string | undefined;
    message?: string | undefined;
    symbol?: string | undefined;
    severity?: Severity | undefined;
};
/**
 * `replayed`: this client had missed the update. `folded`: so many older ones were replaced by it.
 */
export type UpdateOf<T> = {
    timestamp: string;
    data: T & {
        [field: string]: unknown;
    };
    offset?: number | undefined;
    epoch?: string | undefined;
    snapshot?: true | undefined;
    folded?: number | undefined;
    replayed?: true | undefined;
};
export type MarketDataUpdate = UpdateOf<MarketData> & {
    type: "market_data_update";
    symbol: string;
};
export type PredictionUpdate = UpdateOf<Prediction> & {
    type: "prediction_update";
    symbol: string;
    request_id?: string;
};
export type Alert = UpdateOf<AlertData> & {
    type: "alert";
    id: string;
    audience: "all" | "user";
    filtered?: number;
};
export type Connected = {
    type: "connected";
    timestamp: string;
    channel: ChannelName;
    symbol?: string;
    symbols: string[];
    connection_id: string;
    message: string;
    protocol: number;
    heartbeat_interval: number;
    authenticated: boolean;
    streams: Streams;
};
export type Ping = {
    type: "ping";
    timestamp: string;
    heads: {
        [stream: string]: number;
    };
};
export type Pong = {
    type: "pong";
    timestamp: string;
    id?: Id;
};
export type Subscription = {
    timestamp: string;
    channel: ChannelName;
    symbol?: string;
    symbols: string[];
    streams: Streams;
    id?: Id;
};
export type Subscribed = Subscription & {
    type: "subscribed";
};
export type Unsubscribed = Subscription & {
    type: "unsubscribed";
};
export type PredictionRequested = {
    type: "prediction_requested";
    timestamp: string;
    symbol: string;
    request_id: string;
    status: "processing";
    message: string;
    id?: Id;
};
export type PredictionOutcome = {
    type: "prediction_outcome";
    timestamp: string;
    symbol: string;
    prediction_id: string;
    predicted_price: number;
    actual_price: number;
    error: number;
    within_bounds: boolean;
};
export type AlertConfig = {
    rules?: object[];
    min_severity?: Severity;
    symbols?: string[];
    dry_run?: boolean;
};
export type AlertsConfigured = {
    type: "alerts_configured";
    timestamp: string;
    config: {
        [field: string]: unknown;
    };
    message: string;
    id?: Id;
};
export type Acked = {
    type: "acked";
    timestamp: string;
    ids: Id[];
    id?: Id;
};
export type Authenticated = {
    type: "authenticated";
    timestamp: string;
    expires_at: string | null;
    id?: Id;
};
export type TokenExpiring = {
    type: "token_expiring";
    timestamp: string;
    expires_at: string;
};
export type Status = {
    type: "status";
    timestamp: string;
    channel: ChannelName;
    connection_id: string;
    symbols: string[];
    streams: Streams;
    limits: {
        [name: string]: {
            limit: number;
            left: number;
        };
    };
    counters: {
        [name: string]: number;
    };
    rtt_ms: number | null;
    credential: {
        kind: string;
        expires_at?: string | null;
        [field: string]: unknown;
    };
    server: {
        [field: string]: unknown;
    };
    id?: Id | undefined;
};
export type StreamStatus = {
    type: "stream_status";
    timestamp: string;
    symbol: string;
    state: "stale" | "fresh";
    last_update: string | null;
    expected_every: number | null;
    reason?: string;
};
/**
 * Updates that are lost for good; without a `timestamp` if it was a resume that did not bring them.
 */
export type Gap = {
    type: "gap";
    timestamp?: string;
    symbol: string;
    from_offset: number;
    to_offset: number;
    epoch: string;
};
export type ServerShutdown = {
    type: "server_shutdown";
    timestamp: string;
    reconnect_in_ms: number;
};
/**
 * `code` is one of ErrorCode, or of this client: `not_connected`, `credential_unavailable`.
 */
export type ErrorMessage = {
    type: "error";
    timestamp?: string;
    code: string;
    message: string;
    retry: boolean;
    retry_after_ms?: number;
    details?: {
        [field: string]: unknown;
    };
    id?: Id;
};
/**
 * Where a channel stands. `backend_unavailable`: connected, but the server cannot reach its Redis, so
 * that no update arrives. `waiting`: the next attempt comes in `ms`. `closed`: not before somebody
 * changes something; `code` and `reason` say what.
 */
export type StateMessage = {
    type: "state";
    phase: "idle" | "connecting" | "live" | "backend_unavailable" | "waiting" | "closed";
    channel: ChannelName;
    authenticated?: boolean | undefined;
    code?: number | undefined;
    reason?: string | undefined;
    ms?: number | undefined;
};
export type ServerMessage = MarketDataUpdate | PredictionUpdate | Alert | Connected | Ping | Pong | Subscribed | Unsubscribed | PredictionRequested | PredictionOutcome | AlertsConfigured | Acked | Authenticated | TokenExpiring | Status | StreamStatus | Gap | ServerShutdown | ErrorMessage;
export type Events = { [M in ServerMessage | StateMessage as M["type"]]: M; };
export type Outgoing = {
    type: string;
    symbols?: string[];
    since?: {
        [stream: string]: Position;
    };
    [field: string]: any;
};
/**
 * What a WebSocket has to have: that of a browser, of Node 22, or of the package `ws`.
 */
export type Socket = {
    send: (text: string) => void;
    close: (code?: number) => void;
    terminate?: (() => void) | undefined;
    onmessage: any;
    onclose: any;
    onerror: any;
};
export type SocketClass = new (url: string, protocols: string[]) => Socket;
