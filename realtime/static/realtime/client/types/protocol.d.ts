/** 44xx: reconnecting unchanged would end the same way. @param {number} code */
export function isTerminal(code: number): boolean;
export const PROTOCOL_VERSION: 1;
export const SUBPROTOCOL: "ara.v1";
export const CHANNELS: readonly ["predictions", "market-data", "alerts"];
export namespace CloseCode {
    let BAD_REQUEST: 4400;
    let UNAUTHORIZED: 4401;
    let FORBIDDEN: 4403;
    let NOT_FOUND: 4404;
    let DISCONNECTED: 4409;
    let LIMIT_EXCEEDED: 4429;
    let INTERNAL_ERROR: 4500;
    let HEARTBEAT_TIMEOUT: 4504;
    let SLOW_CONSUMER: 4508;
    let MESSAGE_TOO_BIG: 1009;
    let SERVICE_RESTART: 1012;
}
export namespace ErrorCode {
    export let INVALID_JSON: "invalid_json";
    export let INVALID_MESSAGE: "invalid_message";
    export let UNKNOWN_TYPE: "unknown_type";
    export let INVALID_SYMBOL: "invalid_symbol";
    export let INVALID_TOKEN: "invalid_token";
    export let AUTH_REQUIRED: "auth_required";
    let FORBIDDEN_1: "forbidden";
    export { FORBIDDEN_1 as FORBIDDEN };
    export let NOT_SUBSCRIBED: "not_subscribed";
    export let SUBSCRIPTION_LIMIT: "subscription_limit";
    export let CONNECTION_LIMIT: "connection_limit";
    export let RATE_LIMITED: "rate_limited";
    export let PREDICTION_FAILED: "prediction_failed";
    let DISCONNECTED_1: "disconnected";
    export { DISCONNECTED_1 as DISCONNECTED };
    let SLOW_CONSUMER_1: "slow_consumer";
    export { SLOW_CONSUMER_1 as SLOW_CONSUMER };
    let INTERNAL_ERROR_1: "internal_error";
    export { INTERNAL_ERROR_1 as INTERNAL_ERROR };
}
export const SERVER_TYPES: readonly ["connected", "ping", "pong", "prediction_update", "market_data_update", "alert", "subscribed", "unsubscribed", "prediction_requested", "alerts_configured", "acked", "authenticated", "token_expiring", "status", "stream_status", "prediction_outcome", "gap", "server_shutdown", "error"];
export const CLIENT_TYPES: readonly ["pong", "ping", "subscribe", "unsubscribe", "request_prediction", "configure_alerts", "ack", "auth", "status"];
