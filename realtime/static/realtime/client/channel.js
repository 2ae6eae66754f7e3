// One channel of a client: a socket, its timers, and the promises of its requests. What to do is
// decided by session.js.

import { positionsOf, symbolsOf } from "./arguments.js";
import { Emitter } from "./emitter.js";
import { AraError, forbiddenSymbols, NOT_CONNECTED } from "./errors.js";
import { Session } from "./session.js";

const MAX_HISTORY = 300;
const CLOSE_LIMIT_MS = 200; // after an `error` the `close` that says more comes within this time

/** @typedef {import("./messages.js").StateMessage} StateMessage */
/** @typedef {import("./arguments.js").Names} Names */
/**
 * @typedef {object} ChannelOptions
 * @property {Names} [symbols] to subscribe to
 * @property {number} [history] how many earlier updates of each stream to fetch first, at most 300
 * @property {import("./messages.js").Since} [since] where streams begin: after these positions
 */
/** @typedef {{ url: () => string, credentials: import("./credentials.js").Credentials, WebSocket?: import("./messages.js").SocketClass, parent: Emitter }} Shared */

export class Channel extends Emitter {
  #session;
  #shared;
  /** @type {import("./messages.js").Socket | null} */
  #socket = null;
  /** @type {object | null} the attempt to connect that counts */
  #attempt = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #tickTimer;
  #tickAt = Infinity;
  /** @type {Map<number, { resolve: (answer: any) => void, reject: (error: Error) => void }>} */
  #promises = new Map();

  /** Made by `client.channel(name)`.
   * @param {import("./messages.js").ChannelName} name @param {number} history @param {Shared} shared */
  constructor(name, history, shared) {
    super();
    if (!Number.isInteger(history) || history < 0 || history > MAX_HISTORY) {
      throw new TypeError("history: give an integer from 0 to 300.");
    }
    this.name = name;
    this.#shared = shared;
    this.#session = new Session({ channel: name, history, renews: shared.credentials.renews });
    /** @type {StateMessage} */
    this.state = { type: "state", phase: "idle", channel: name };
  }

  get connected() {
    return this.#session.connected;
  }

  /** How far each stream was read: what `since` takes. */
  get positions() {
    return this.#session.positions;
  }

  /** The socket of the moment; null if there is none. */
  get socket() {
    return this.#socket;
  }

  /** Connect now; while waiting to reconnect, do not wait any longer. */
  connect() {
    if (!this.connected && this.state.phase !== "connecting") this.#start();
  }

  close() {
    this.#abandon();
    listenToPage(this.#page, "remove");
    this.#session.stop();
    this.#run();
  }

  /** Connect again, as another user. */
  restart() {
    this.#session.forget();
    this.#start();
  }

  /**
   * Adds symbols, a string or an array of strings; resolves with `subscribed`, also after a
   * reconnect; rejects with AraError. Throws TypeError for anything else.
   * @param {Names} symbols @returns {Promise<import("./messages.js").Subscribed>}
   */
  subscribe(symbols) {
    return this.#request(this.#session.subscribe(symbolsOf(symbols), now()));
  }

  /** Subscribes to those that the credential allows; what fails comes as the event `error`.
   * @param {Names} symbols @param {import("./messages.js").Since} [since] where they begin */
  follow(symbols, since = {}) {
    this.#session.begin(positionsOf(since));
    const names = symbolsOf(symbols);
    if (names.length === 0) return;
    this.subscribe(names).catch((error) => {
      if (error.code !== NOT_CONNECTED) this.#failed(error);
      const forbidden = forbiddenSymbols(error);
      const left = names.filter((name) => !forbidden.includes(name));
      if (left.length < names.length) this.follow(left);
    });
  }

  /** @param {Names} symbols @returns {Promise<import("./messages.js").Unsubscribed>} */
  unsubscribe(symbols) {
    return this.#request(this.#session.unsubscribe(symbolsOf(symbols), now()));
  }

  /** Any request of the protocol, without its `id`; resolves with the answer.
   * @param {import("./messages.js").Outgoing} message @returns {Promise<any>} */
  request(message) {
    return this.#request(this.#session.request(message, now()));
  }

  /** What the server knows of this socket. @returns {Promise<import("./messages.js").Status>} */
  status() {
    return this.request({ type: "status" });
  }

  #start() {
    this.#abandon();
    this.#shared.url(); // throws here, where somebody listens
    if (!(this.#shared.WebSocket ?? globalThis.WebSocket)) {
      throw new TypeError("WebSocket: this runtime has none; give that of ws.");
    }
    listenToPage(this.#page, "add");
    this.#session.start(now());
    this.#run();
  }

  /** @param {number} id @returns {Promise<any>} */
  #request(id) {
    return new Promise((resolve, reject) => {
      this.#promises.set(id, { resolve, reject });
      this.#run();
    });
  }

  #run() {
    for (let effect; (effect = this.#session.effects.shift()); ) {
      if (effect.do === "send") this.#socket?.send(JSON.stringify(effect.message));
      else if (effect.do === "emit") this.#emit(effect.detail);
      else if (effect.do === "settle") this.#settle(effect);
      else if (effect.do === "open") this.#open();
      else if (effect.do === "abandon") this.#abandon(true);
      else this.#retryTimer = setTimeout(() => this.#retry(), effect.ms);
    }
    this.#watch();
  }

  /** @param {any} message */
  #emit(message) {
    if (message.type === "state") this.state = message;
    this.emit(message, this.name);
    this.#shared.parent.emit(message, this.name);
    if (message.type === "token_expiring") this.#renew();
  }

  /** @param {import("./session.js").Settled} settled */
  #settle({ id, answer, error }) {
    const promise = this.#promises.get(id);
    this.#promises.delete(id);
    if (error) promise?.reject(error);
    else promise?.resolve(answer);
  }

  // A listener may have closed the channel, or connected it, since this effect was queued.

  #retry() {
    if (this.#session.phase === "waiting") this.#start();
  }

  async #open() {
    if (this.#session.phase !== "connecting") return;
    const attempt = (this.#attempt = {});
    try {
      const protocols = await this.#shared.credentials.protocols();
      if (this.#attempt !== attempt) return;
      this.#session.opening(now());
      const SocketClass = this.#shared.WebSocket ?? globalThis.WebSocket;
      this.#listen(new SocketClass(this.#shared.url(), protocols));
      this.#watch();
    } catch (error) {
      if (this.#attempt === attempt) this.#dropped({ code: 1006, reason: this.#failed(error) });
    }
  }

  /** @param {import("./messages.js").Socket} socket */
  #listen(socket) {
    this.#socket = socket;
    socket.onmessage = (/** @type {MessageEvent} */ event) => {
      if (this.#socket !== socket) return;
      try {
        this.#session.received(JSON.parse(event.data), now());
      } catch {
        return this.#dropped({ code: 1006, reason: "a message is not of the protocol" });
      }
      this.#run();
    };
    socket.onclose = (/** @type {CloseEvent} */ event) => {
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

  /** Look at the connection when it is time; while messages come, that time moves away. */
  #watch() {
    const due = this.#session.dueMs;
    if (due >= this.#tickAt) return;
    clearTimeout(this.#tickTimer);
    this.#tickAt = due;
    this.#tickTimer = setTimeout(() => {
      this.#tickAt = Infinity;
      this.#session.tick(now());
      this.#run();
    }, due - now());
  }

  #page = (/** @type {{ type: string }} */ { type }) => {
    if (type === "visibilitychange" && document.hidden) return;
    if (type !== "offline") this.#retry();
    this.#session.probe(now());
    this.#run();
  };

  async #renew() {
    const { credentials } = this.#shared;
    if (!credentials.renews) return;
    try {
      const token = await credentials.fresh("expiring");
      if (token) await this.request({ type: "auth", token });
    } catch (error) {
      this.#failed(error); // 4401 follows, and another attempt
    }
  }

  /** Tell of what nobody waits for. @param {any} error @returns {string} */
  #failed(error) {
    const code = error instanceof AraError ? error.code : "credential_unavailable";
    const message = error?.message ?? String(error);
    this.#emit({ type: "error", code, message, retry: error?.retry ?? true });
    return message;
  }

  /** @param {{ code: number, reason: string }} close */
  #dropped(close) {
    this.#abandon();
    this.#session.dropped(close, now());
    this.#run();
  }

  /** A dead connection would let close() hang for a minute: its end is not waited for. */
  #abandon(dead = false) {
    const socket = this.#socket;
    this.#socket = this.#attempt = null;
    clearTimeout(this.#tickTimer);
    clearTimeout(this.#retryTimer);
    this.#tickAt = Infinity;
    if (dead && socket?.terminate) socket.terminate();
    else socket?.close();
  }
}

function now() {
  return performance.now();
}

/** @param {(event: any) => void} listener @param {"add" | "remove"} what */
function listenToPage(listener, what) {
  for (const type of ["online", "offline", "visibilitychange"]) {
    globalThis[`${what}EventListener`]?.(type, listener); // the last one bubbles up to the window
  }
}
