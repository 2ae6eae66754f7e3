// The credential of a client, for all its channels.

import { optionalFunction } from "./arguments.js";
import { SUBPROTOCOL } from "./protocol.js";

/** Why a callback is asked: the socket is to be opened, or the token of an open one has expired.
 * @typedef {"connect" | "expiring"} Occasion */
/** @typedef {(about: { reason: Occasion }) => string | null | Promise<string | null>} Callback */

export class Credentials {
  #getToken;
  #getTicket;
  #token = "";
  /** @type {ReturnType<Callback>} the answer that is awaited */
  #asking = null;

  /** @param {{ token?: string | null, getToken?: Callback, getTicket?: Callback }} options */
  constructor({ token = "", getToken, getTicket }) {
    this.keep(token);
    this.#getToken = optionalFunction(getToken, "getToken");
    this.#getTicket = optionalFunction(getTicket, "getTicket");
    if (getToken && getTicket) throw new TypeError("getTicket: give this or getToken.");
  }

  /** Can there be another credential than the one that was refused? */
  get renews() {
    return !!(this.#getToken ?? this.#getTicket);
  }

  /** @param {unknown} token */
  keep(token) {
    this.#token = checkedToken(token, "token");
  }

  /** The subprotocols that carry the credential: no log and no address has it then. */
  async protocols() {
    const secret = await this.fresh("connect");
    return secret ? [SUBPROTOCOL, `ara.token.${secret}`] : [];
  }

  /** A token, or a ticket; channels that need a token at the same time share one question.
   * @param {Occasion} reason @returns {Promise<string>} */
  async fresh(reason) {
    if (this.#getTicket) return checkedToken(await this.#getTicket({ reason }), "getTicket");
    if (this.#getToken) {
      this.#asking ??= this.#getToken({ reason });
      try {
        this.#token = checkedToken(await this.#asking, "getToken");
      } finally {
        this.#asking = null;
      }
    }
    return this.#token;
  }
}

/** A token that Sec-WebSocket-Protocol can carry; the browser's own error does not name the rule.
 * @param {unknown} token @param {string} name */
function checkedToken(token, name) {
  if (token === null) return "";
  const isText = typeof token === "string";
  if (isText && /^[\w.~+-]*$/.test(token)) return token;
  const Wrong = isText ? RangeError : TypeError;
  throw new Wrong(`${name}: give null, or a string of letters, digits and . _ ~ + -.`);
}
