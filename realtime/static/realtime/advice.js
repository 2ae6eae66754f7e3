import { CloseCode } from "./client/index.js";

// What the person in front of the page can do; for 44xx nothing happens until they do it.
const ADVICE = new Map([
  [CloseCode.BAD_REQUEST, "Reload this page."],
  [CloseCode.UNAUTHORIZED, "Enter a valid credential above, or go anonymous."],
  [CloseCode.FORBIDDEN, "Enter a credential that may read here, and use an allowed address."],
  [CloseCode.NOT_FOUND, "Check the address of the server."],
  [CloseCode.DISCONNECTED, "Ask the operator of the server before you reconnect."],
  [CloseCode.LIMIT_EXCEEDED, "Close other pages that are connected, then reconnect."],
  [CloseCode.INTERNAL_ERROR, "The log of the server says why."],
  [CloseCode.HEARTBEAT_TIMEOUT, "The server has not heard from this page for too long."],
  [CloseCode.SLOW_CONSUMER, "This page could not keep up with the updates."],
  [CloseCode.MESSAGE_TOO_BIG, "A message of this page was too big."],
  [CloseCode.SERVICE_RESTART, "The server restarts; it is back in a moment."],
]);

/** @param {number} code */
export function adviceFor(code) {
  return ADVICE.get(code) ?? "Is the server running?";
}

/** `unauthorized` for 4401; "" for a code that is not of this protocol. @param {number} code */
export function closeCodeName(code) {
  const entry = Object.entries(CloseCode).find(([, value]) => value === code);
  return entry ? entry[0].toLowerCase().replaceAll("_", " ") : "";
}
