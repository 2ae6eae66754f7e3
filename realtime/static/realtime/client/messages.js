// The types of what is sent and received, for editors and TypeScript. Nothing here runs.
// docs/reference/protocol.md says what each message means.

/** @typedef {"predictions" | "market-data" | "alerts"} ChannelName */
/** @typedef {{ epoch: string, offset: number }} Position */
/** @typedef {{ epoch: string, offset: number, recovered?: boolean, replayed?: number }} StreamInfo */
/** @typedef {{ [stream: string]: StreamInfo }} Streams */
/** @typedef {{ [stream: string]: Position }} Since */
/** @typedef {string | number} Id */

/**
 * What a publisher of market data sends; every other field is possible, too.
 * @typedef {object} MarketData
 * @property {number} [price]
 * @property {number | null} [volume]
 * @property {string} [timestamp]
 * @property {number | null} [bid]
 * @property {number | null} [ask]
 * @property {string} [source]
 */
/**
 * What a publisher of predictions sends; every other field is possible, too.
 * @typedef {object} Prediction
 * @property {number} [predicted_price]
 * @property {number} [lower_bound]
 * @property {number} [upper_bound]
 * @property {number} [confidence] between 0 and 1
 * @property {number} [horizon] in steps
 * @property {string} [model]
 * @property {string} [timestamp]
 * @property {string} [prediction_id]
 * @property {string} [valid_until]
 */
/** @typedef {"low" | "medium" | "high" | "critical"} Severity */
/**
 * What a publisher of alerts sends; every other field is possible, too.
 * @typedef {object} AlertData
 * @property {string} [type]
 * @property {string} [message]
 * @property {string} [symbol]
 * @property {Severity} [severity]
 */
/**
 * `replayed`: this client had missed the update. `folded`: so many older ones were replaced by it.
 * @template T
 * @typedef {object} UpdateOf
 * @property {string} timestamp
 * @property {T & { [field: string]: unknown }} data
 * @property {number} [offset]
 * @property {string} [epoch]
 * @property {true} [snapshot]
 * @property {number} [folded]
 * @property {true} [replayed]
 */
/** @typedef {UpdateOf<MarketData> & { type: "market_data_update", symbol: string }} MarketDataUpdate */
/** @typedef {UpdateOf<Prediction> & { type: "prediction_update", symbol: string, request_id?: string }} PredictionUpdate */
/** @typedef {UpdateOf<AlertData> & { type: "alert", id: string, audience: "all" | "user", filtered?: number }} Alert */

/** @typedef {{ type: "connected", timestamp: string, channel: ChannelName, symbol?: string, symbols: string[], connection_id: string, message: string, protocol: number, heartbeat_interval: number, authenticated: boolean, streams: Streams }} Connected */
/** @typedef {{ type: "ping", timestamp: string, heads: { [stream: string]: number } }} Ping */
/** @typedef {{ type: "pong", timestamp: string, id?: Id }} Pong */
/** @typedef {{ timestamp: string, channel: ChannelName, symbol?: string, symbols: string[], streams: Streams, id?: Id }} Subscription */
/** @typedef {Subscription & { type: "subscribed" }} Subscribed */
/** @typedef {Subscription & { type: "unsubscribed" }} Unsubscribed */
/** @typedef {{ type: "prediction_requested", timestamp: string, symbol: string, request_id: string, status: "processing", message: string, id?: Id }} PredictionRequested */
/** @typedef {{ type: "prediction_outcome", timestamp: string, symbol: string, prediction_id: string, predicted_price: number, actual_price: number, error: number, within_bounds: boolean }} PredictionOutcome */
/** @typedef {{ rules?: object[], min_severity?: Severity, symbols?: string[], dry_run?: boolean }} AlertConfig */
/** @typedef {{ type: "alerts_configured", timestamp: string, config: { [field: string]: unknown }, message: string, id?: Id }} AlertsConfigured */
/** @typedef {{ type: "acked", timestamp: string, ids: Id[], id?: Id }} Acked */
/** @typedef {{ type: "authenticated", timestamp: string, expires_at: string | null, id?: Id }} Authenticated */
/** @typedef {{ type: "token_expiring", timestamp: string, expires_at: string }} TokenExpiring */
/**
 * @typedef {object} Status
 * @property {"status"} type
 * @property {string} timestamp
 * @property {ChannelName} channel
 * @property {string} connection_id
 * @property {string[]} symbols
 * @property {Streams} streams
 * @property {{ [name: string]: { limit: number, left: number } }} limits
 * @property {{ [name: string]: number }} counters
 * @property {number | null} rtt_ms
 * @property {{ kind: string, expires_at?: string | null, [field: string]: unknown }} credential
 * @property {{ [field: string]: unknown }} server
 * @property {Id} [id]
 */
/** @typedef {{ type: "stream_status", timestamp: string, symbol: string, state: "stale" | "fresh", last_update: string | null, expected_every: number | null, reason?: string }} StreamStatus */
/**
 * Updates that are lost for good; without a `timestamp` if it was a resume that did not bring them.
 * @typedef {{ type: "gap", timestamp?: string, symbol: string, from_offset: number, to_offset: number, epoch: string }} Gap
 */
/** @typedef {{ type: "server_shutdown", timestamp: string, reconnect_in_ms: number }} ServerShutdown */
/**
 * `code` is one of ErrorCode, or of this client: `not_connected`, `credential_unavailable`.
 * @typedef {{ type: "error", timestamp?: string, code: string, message: string, retry: boolean, retry_after_ms?: number, details?: { [field: string]: unknown }, id?: Id }} ErrorMessage
 */
/**
 * Where a channel stands. `backend_unavailable`: connected, but the server cannot reach its Redis, so
 * that no update arrives. `waiting`: the next attempt comes in `ms`. `closed`: not before somebody
 * changes something; `code` and `reason` say what.
 * @typedef {object} StateMessage
 * @property {"state"} type
 * @property {"idle" | "connecting" | "live" | "backend_unavailable" | "waiting" | "closed"} phase
 * @property {ChannelName} channel
 * @property {boolean} [authenticated]
 * @property {number} [code]
 * @property {string} [reason]
 * @property {number} [ms]
 */

/** @typedef {MarketDataUpdate | PredictionUpdate | Alert | Connected | Ping | Pong | Subscribed | Unsubscribed | PredictionRequested | PredictionOutcome | AlertsConfigured | Acked | Authenticated | TokenExpiring | Status | StreamStatus | Gap | ServerShutdown | ErrorMessage} ServerMessage */
/** @typedef {{ [M in ServerMessage | StateMessage as M["type"]]: M }} Events */

/** @typedef {{ type: string, symbols?: string[], since?: { [stream: string]: Position }, [field: string]: any }} Outgoing */

/**
 * What a WebSocket has to have: that of a browser, of Node 22, or of the package `ws`.
 * @typedef {object} Socket
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 * @property {(() => void)} [terminate]
 * @property {any} onmessage
 * @property {any} onclose
 * @property {any} onerror
 */
/** @typedef {new (url: string, protocols: string[]) => Socket} SocketClass */

export {};
