// The constants of the wire, in one place. realtime/protocol.py is their source;
// tests/test_javascript.py compares the two.

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "ara.v1";
export const CHANNELS = /** @type {const} */ (["predictions", "market-data", "alerts"]);

export const CloseCode = /** @type {const} */ ({
  BAD_REQUEST: 4400,
  UNAUTHORIZED: 4401,
  FORBIDDEN: 4403,
  NOT_FOUND: 4404,
  DISCONNECTED: 4409,
  LIMIT_EXCEEDED: 4429,
  INTERNAL_ERROR: 4500,
  HEARTBEAT_TIMEOUT: 4504,
  SLOW_CONSUMER: 4508,
  MESSAGE_TOO_BIG: 1009,
  SERVICE_RESTART: 1012,
});

export const ErrorCode = /** @type {const} */ ({
  INVALID_JSON: "invalid_json",
  INVALID_MESSAGE: "invalid_message",
  UNKNOWN_TYPE: "unknown_type",
  INVALID_SYMBOL: "invalid_symbol",
  INVALID_TOKEN: "invalid_token",
  AUTH_REQUIRED: "auth_required",
  FORBIDDEN: "forbidden",
  NOT_SUBSCRIBED: "not_subscribed",
  SUBSCRIPTION_LIMIT: "subscription_limit",
  CONNECTION_LIMIT: "connection_limit",
  RATE_LIMITED: "rate_limited",
  PREDICTION_FAILED: "prediction_failed",
  DISCONNECTED: "disconnected",
  SLOW_CONSUMER: "slow_consumer",
  INTERNAL_ERROR: "internal_error",
});

export const SERVER_TYPES = /** @type {const} */ ([
  "connected",
  "ping",
  "pong",
  "prediction_update",
  "market_data_update",
  "alert",
  "subscribed",
  "unsubscribed",
  "prediction_requested",
  "alerts_configured",
  "acked",
  "authenticated",
  "token_expiring",
  "status",
  "stream_status",
  "prediction_outcome",
  "gap",
  "server_shutdown",
  "error",
]);

export const CLIENT_TYPES = /** @type {const} */ ([
  "pong",
  "ping",
  "subscribe",
  "unsubscribe",
  "request_prediction",
  "configure_alerts",
  "ack",
  "auth",
  "status",
]);

/** 44xx: reconnecting unchanged would end the same way. @param {number} code */
export function isTerminal(code) {
  return code >= 4400 && code <= 4499;
}
