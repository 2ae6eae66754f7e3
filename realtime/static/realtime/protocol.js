// The constants of the wire, in one place. realtime/protocol.py is their source;
// tests/test_javascript.py compares the two.

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "ara.v1";
export const CHANNELS = Object.freeze(["predictions", "market-data", "alerts"]);

export const CloseCode = Object.freeze({
  BAD_REQUEST: 4400,
  UNAUTHORIZED: 4401,
  FORBIDDEN: 4403,
  NOT_FOUND: 4404,
  LIMIT_EXCEEDED: 4429,
  INTERNAL_ERROR: 4500,
  HEARTBEAT_TIMEOUT: 4504,
  SLOW_CONSUMER: 4508,
  MESSAGE_TOO_BIG: 1009,
  SERVICE_RESTART: 1012,
});

export const ErrorCode = Object.freeze({
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
  SLOW_CONSUMER: "slow_consumer",
  INTERNAL_ERROR: "internal_error",
});

export const SERVER_TYPES = Object.freeze([
  "connected",
  "ping",
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

export const CLIENT_TYPES = Object.freeze([
  "pong",
  "subscribe",
  "unsubscribe",
  "request_prediction",
  "configure_alerts",
  "ack",
  "auth",
  "status",
]);

// What the person in front of the page can do; for 44xx nothing happens until they do it.
const ADVICE = new Map([
  [CloseCode.BAD_REQUEST, "Reload this page."],
  [CloseCode.UNAUTHORIZED, "Enter a valid credential above, or go anonymous."],
  [CloseCode.FORBIDDEN, "Enter a credential that may read here, and use an allowed address."],
  [CloseCode.NOT_FOUND, "Check the address of the server."],
  [CloseCode.LIMIT_EXCEEDED, "Close other pages that are connected, then reconnect."],
  [CloseCode.INTERNAL_ERROR, "The log of the server says why."],
  [CloseCode.HEARTBEAT_TIMEOUT, "The server has not heard from this page for too long."],
  [CloseCode.SLOW_CONSUMER, "This page could not keep up with the updates."],
  [CloseCode.MESSAGE_TOO_BIG, "A message of this page was too big."],
  [CloseCode.SERVICE_RESTART, "The server restarts; it is back in a moment."],
]);

/** @param {number} code */
export function adviceFor(code) {
  return ADVICE.get(code) ?? "The server cannot be reached. Is it running?";
}

/** `unauthorized` for 4401; "" for a code that is not of this protocol. */
export function closeCodeName(code) {
  const entry = Object.entries(CloseCode).find(([, value]) => value === code);
  return entry ? entry[0].toLowerCase().replaceAll("_", " ") : "";
}

/** 44xx: reconnecting unchanged would end the same way. */
export function isTerminal(code) {
  return code >= 4400 && code <= 4499;
}

/**
 * The upper-cased symbol; throws RangeError with the rule. The server checks again, but a
 * symbol entered while disconnected must be refused before it is kept for later.
 */
export function parseSymbol(text) {
  const symbol = text.trim().toUpperCase();
  if (symbol === "") throw new RangeError("Enter a symbol, for example NVDA.");
  if (symbol.length > 32) throw new RangeError("A symbol has at most 32 characters.");
  if (!/^[A-Z0-9^][A-Z0-9.\-_=^:/]*$/.test(symbol)) {
    throw new RangeError(
      "A symbol consists of A-Z 0-9 . - _ = ^ : / only, and starts with a letter, digit or ^.",
    );
  }
  return symbol;
}
