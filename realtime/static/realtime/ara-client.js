// A client of one channel:
//   const client = new AraClient({ channel: "market-data", symbols: ["AAPL"] });
//   client.addEventListener("market_data_update", (event) => console.log(event.detail.data));
//   client.connect();
// It answers pings, notices lost updates and a dead connection, reconnects and resumes.
//
// Events (`event.detail` is the message): one per message type of the server, such as
// "market_data_update" and "error", and "state" with { phase: idle | connecting | live | waiting |
// closed, ms?, code?, reason?, advice?, authenticated? }. Updates arrive once and in order,
// those from the past with `replayed: true`.

import { AraError, forbiddenSymbols, NOT_CONNECTED, Session } from "./ara-session.js";
import { SUBPROTOCOL } from "./protocol.js";

export { AraError, NOT_CONNECTED };

const CLOSE_LIMIT_MS = 200; // after an `error` the `close` that says more comes within this time

export class AraClient extends EventTarget {
  #session;
  #url;
  #socket = null;
  #token = "";
  #retryTimer = null;
  #silenceTimer = null;
  #promises = new Map(); // request id -> { resolve, reject }

  /** `history`: how many earlier updates of each stream to fetch first (at most 300). */
  constructor({ channel, symbols = [], history = 0, url = defaultUrl(channel) }) {
    super();
    this.#url = url;
    this.#session = new Session({ channel, history });
    this.state = { phase: "idle" };
    const first = listOf(symbols, "symbols");
    if (first.length > 0) this.#subscribeFirst(first);
  }

  /** Those of the symbols that the credential allows. */
  #subscribeFirst(symbols) {
    this.subscribe(symbols).catch((error) => {
      this.#emit("error", error);
      const forbidden = forbiddenSymbols(error);
      const left = symbols.filter((symbol) => !forbidden.includes(symbol));
      if (left.length > 0 && left.length < symbols.length) this.#subscribeFirst(left);
    });
  }

  /** Connected, but a subscription is still without its answer. */
  get subscribing() {
    return this.#session.subscribing;
  }

  /** Connect now; while waiting to reconnect, do not wait any longer. */
  connect() {
    if (this.#socket === null) this.#start();
  }

  close() {
    this.#abandonSocket();
    this.#run(this.#session.stop());
  }

  /** A JWT, an API key, or "" for none. Reconnects with it; nothing else keeps it. */
  setToken(token) {
    this.#token = checkedToken(token);
    this.#session.forget();
    this.#abandonSocket();
    this.#start();
  }

  /**
   * Adds symbols, a string or an array of strings; resolves with `subscribed`, also after a
   * reconnect; rejects with AraError. Throws TypeError for anything else.
   */
  subscribe(symbols) {
    return this.#request(this.#session.subscribe(listOf(symbols, "symbols")));
  }

  unsubscribe(symbols) {
    return this.#request(this.#session.unsubscribe(listOf(symbols, "symbols")));
  }

  /** Resolves with `prediction_requested`; the prediction itself arrives as an update. */
  requestPrediction(symbol, horizon = 1) {
    return this.#request(this.#session.request({ type: "request_prediction", symbol, horizon }));
  }

  acknowledge(ids) {
    return this.#request(this.#session.request({ type: "ack", ids: listOf(ids, "ids") }));
  }

  configureAlerts(config) {
    return this.#request(this.#session.request({ type: "configure_alerts", config }));
  }

  /** Extends the session with a fresh token of the same user, which later reconnects use too. */
  async authenticate(token) {
    this.#token = checkedToken(token);
    return this.#request(this.#session.request({ type: "auth", token }));
  }

  status() {
    return this.#request(this.#session.request({ type: "status" }));
  }

  #start() {
    clearTimeout(this.#retryTimer);
    this.#run(this.#session.start());
  }

  #request({ id, effects }) {
    return new Promise((resolve, reject) => {
      this.#promises.set(id, { resolve, reject });
      this.#run(effects);
    });
  }

  #run(effects) {
    for (const effect of effects) {
      if (effect.do === "send") this.#socket?.send(JSON.stringify(effect.message));
      else if (effect.do === "emit") this.#emit(effect.type, effect.detail);
      else if (effect.do === "settle") this.#settle(effect);
      else if (effect.do === "open") this.#open();
      else if (effect.do === "wait") this.#retryTimer = setTimeout(() => this.#start(), effect.ms);
    }
  }

  #emit(type, detail) {
    if (type === "state") this.state = detail;
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #settle({ id, answer, error }) {
    const promise = this.#promises.get(id);
    this.#promises.delete(id);
    if (error === undefined) promise?.resolve(answer);
    else promise?.reject(error);
  }

  #open() {
    const protocols = this.#token === "" ? [] : [SUBPROTOCOL, `ara.token.${this.#token}`];
    const socket = new WebSocket(this.#url, protocols);
    this.#socket = socket;
    this.#listenForSilence();
    socket.onmessage = (event) => {
      if (this.#socket !== socket) return;
      this.#run(this.#session.received(JSON.parse(event.data), performance.now()));
      this.#listenForSilence();
    };
    socket.onclose = (event) => {
      if (this.#socket === socket) this.#dropped(event);
    };
    // Node's WebSocket reports a refused connection by `error` alone. Elsewhere `close` follows at
    // once, with the code.
    socket.onerror = () => {
      setTimeout(() => {
        if (this.#socket === socket) this.#dropped({ code: 1006, reason: "" });
      }, CLOSE_LIMIT_MS);
    };
  }

  #listenForSilence() {
    clearTimeout(this.#silenceTimer);
    const limit = this.#session.silenceLimitMs;
    this.#silenceTimer = setTimeout(() => {
      this.#dropped({ code: 1006, reason: `nothing heard for ${limit / 1000} s` });
    }, limit);
  }

  #dropped({ code, reason }) {
    this.#abandonSocket();
    this.#run(this.#session.dropped({ code, reason }, performance.now()));
  }

  /** A dead connection would let close() hang for a minute: its end is not waited for. */
  #abandonSocket() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#silenceTimer);
    clearTimeout(this.#retryTimer);
    socket?.close();
  }
}

function defaultUrl(channel) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  return `${scheme}://${location.host}/ws/${channel}`;
}

/** A token that Sec-WebSocket-Protocol can carry; the browser's own error does not name the rule. */
function checkedToken(token) {
  if (typeof token !== "string") throw new TypeError("A token is a string.");
  if (!/^[A-Za-z0-9._~+-]*$/.test(token)) {
    throw new RangeError("A token consists of letters, digits and . _ ~ + - only.");
  }
  return token;
}

/** An array of strings; a single string is one of them, not a list of its letters. */
function listOf(value, name) {
  const list = typeof value === "string" ? [value] : value;
  if (!Array.isArray(list) && !(list instanceof Set)) {
    throw new TypeError(`${name}: give a string or an array of strings.`);
  }
  for (const item of list) {
    if (typeof item !== "string") throw new TypeError(`${name}: ${String(item)} is not a string.`);
  }
  return [...list];
}
