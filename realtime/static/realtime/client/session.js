// One conversation with the server, over as many sockets as it takes. Pure: it is told what
// happened, and puts into `effects` what channel.js has to do about it, in this order:
//   { do: "open" }                      open a socket
//   { do: "abandon" }                   the socket is dead: do not wait for its end
//   { do: "wait", ms }                  come back with start() after this time
//   { do: "send", message }             write this message
//   { do: "emit", detail }              tell the page
//   { do: "settle", id, answer | error }  the outcome of request `id`
// `nowMs` arguments come from one monotonic clock. `dueMs` says when to call tick().

import { Backoff, delayAfterClose } from "./backoff.js";
import { AraError, forbiddenSymbols, NOT_CONNECTED } from "./errors.js";
import { Liveness } from "./liveness.js";
import { Positions } from "./positions.js";
import { CloseCode } from "./protocol.js";
import { Requests } from "./requests.js";

const STEADY_MS = 10_000; // a connection that lived this long was no failed attempt
// To `connected`. A server that wants a credential says so after its REALTIME_AUTH_TIMEOUT, 10 s
// by default: that answer is not to be missed.
const CONNECT_LIMIT_MS = 15_000;
const CREDENTIAL_LIMIT_MS = 60_000; // a person may have to log in
const ANSWER_LIMIT_MS = 3_000;
const MAX_SYMBOLS = 500; // of one message, with their positions

/** @typedef {import("./messages.js").Outgoing} Outgoing */
/** @typedef {import("./messages.js").StateMessage} StateMessage */
/** @typedef {import("./requests.js").Request} Request */
/** @typedef {{ do: "settle", id: number, answer?: any, error?: AraError }} Settled */
/** @typedef {{ do: "open" } | { do: "abandon" } | { do: "wait", ms: number } | { do: "send", message: object } | { do: "emit", detail: any } | Settled} Effect */

export class Session {
  /** @type {Effect[]} */
  effects = [];
  /** @type {StateMessage["phase"]} */
  phase = "idle";
  #channel;
  #history;
  #backoff;
  #renews;
  #positions = new Positions();
  /** @type {Set<string>} symbols that the server has confirmed */
  #wanted = new Set();
  #requests = new Requests();
  /** @type {Liveness | null} of the socket that has said `connected` */
  #liveness = null;
  #liveSince = 0;
  #connectUntil = 0;
  #authenticated = false;
  /** @type {Set<string>} streams whose backend the server cannot reach */
  #away = new Set();
  /** @type {number | null} when the server wants us back */
  #asked = null;
  #lastError = ""; // of this socket: why the server closes it
  #renewed = false; // after the last credential was refused

  /** `renews`: another credential can be had when the server refuses one.
   * @param {{ channel: string, history?: number, backoff?: Backoff, renews?: boolean }} options */
  constructor({ channel, history = 0, backoff = new Backoff(), renews = false }) {
    this.#channel = channel;
    this.#history = history;
    this.#backoff = backoff;
    this.#renews = renews;
  }

  get connected() {
    return this.#liveness !== null;
  }

  get dueMs() {
    if (this.phase === "connecting") return this.#connectUntil;
    if (this.#liveness === null) return Infinity;
    const waiting = this.phase === "live" ? this.#requests.subscribingSince : Infinity;
    return Math.min(this.#liveness.dueMs, waiting + ANSWER_LIMIT_MS);
  }

  /** Open a socket; one that is there is given up by the caller. @param {number} nowMs */
  start(nowMs) {
    this.#lastError = "";
    this.#liveness = null;
    this.#connectUntil = nowMs + CREDENTIAL_LIMIT_MS;
    this.#failUnrepeated();
    this.#enter("connecting");
    this.effects.push({ do: "open" });
  }

  /** The credential is there, and the socket is being opened. @param {number} nowMs */
  opening(nowMs) {
    this.#connectUntil = nowMs + CONNECT_LIMIT_MS;
  }

  /** Ends for good; requests without an answer fail. */
  stop() {
    this.#liveness = null;
    for (const request of this.#requests.all) this.#fail(request, "the connection was closed");
    this.#enter("idle");
  }

  /** Another user: what was seen so far says nothing about their streams. */
  forget() {
    this.#positions = new Positions();
    this.#renewed = false;
  }

  /** What the page has read already. @param {[string, import("./messages.js").Position][]} since */
  begin(since) {
    for (const [name, position] of since) {
      this.#positions.begin(this.#channel === "alerts" ? name : name.toUpperCase(), position);
    }
  }

  /** Where the streams stand, as `begin` takes it. */
  get positions() {
    return this.#positions.since(["*"]);
  }

  /** @param {string[]} symbols @param {number} nowMs */
  subscribe(symbols, nowMs) {
    return this.request({ type: "subscribe", symbols }, nowMs, { repeat: true });
  }

  /** @param {string[]} symbols @param {number} nowMs */
  unsubscribe(symbols, nowMs) {
    this.#leave(symbols);
    if (!this.connected) this.#withdraw(symbols);
    return this.request({ type: "unsubscribe", symbols }, nowMs);
  }

  /** Any other request, which fails when the socket is lost before the answer; returns its id.
   * @param {Outgoing} message @param {number} nowMs @param {import("./requests.js").About} [about] */
  request(message, nowMs, about) {
    const request = this.#requests.add(message, about);
    if (this.connected) this.#ask(request, nowMs);
    else if (!request.repeat) this.#fail(request, "not connected");
    return request.message.id;
  }

  /** Something has happened to the network: does the connection still live? @param {number} nowMs */
  probe(nowMs) {
    if (this.#liveness?.ask(nowMs)) this.#send({ type: "ping" });
  }

  /** @param {number} nowMs */
  tick(nowMs) {
    if (nowMs < this.dueMs) return;
    if (this.phase === "connecting") return this.#giveUp("no answer", nowMs);
    const next = this.#liveness?.look(nowMs);
    if (next === "dead") return this.#giveUp("no answer to a ping", nowMs);
    if (next === "ask") this.#send({ type: "ping" });
    this.#enterLive(nowMs);
  }

  /** Throws for what is not of the protocol. @param {any} message @param {number} nowMs */
  received(message, nowMs) {
    const isUpdate = message.type.endsWith("_update") || message.type === "alert";
    this.#liveness?.heard(nowMs);
    if (isUpdate) this.#update(message, nowMs);
    else if (message.type === "connected") this.#welcome(message, nowMs);
    else if (message.type === "error") this.#error(message, nowMs);
    else this.#other(message, nowMs);
  }

  /** @param {any} message @param {number} nowMs */
  #other(message, nowMs) {
    if (message.type === "ping") this.#send({ type: "pong" });
    const request = this.#requests.take(message.id);
    if (request) this.#settle(request, { answer: message });
    this.#emit(message);
    switch (message.type) {
      case "ping":
        return this.#recover(this.#positions.compare(message.heads), nowMs);
      case "subscribed":
      case "unsubscribed":
        // The streams of alerts come with the socket, not by subscription.
        if (this.#channel !== "alerts") this.#wanted = new Set(message.symbols);
        this.#join(message.streams, nowMs);
        return this.#enterLive(nowMs);
      case "stream_status":
        return this.#reach(message.symbol, message.reason !== "backend_unavailable", nowMs);
      case "gap":
        return void this.#positions.start(message.symbol, message.epoch, message.to_offset);
      case "server_shutdown":
        this.#asked = nowMs + message.reconnect_in_ms;
    }
  }

  /** The socket is gone. @param {{ code: number, reason: string }} close @param {number} nowMs */
  dropped({ code, reason }, nowMs) {
    if (this.connected && nowMs - this.#liveSince >= STEADY_MS) this.#backoff.reset();
    this.#liveness = null;
    const ms = this.#delay(code, nowMs);
    const detail = { code, reason: this.#lastError || reason };
    this.#failUnrepeated();
    // What was subscribed to stays wanted, also when somebody has to act first.
    if (ms === null) return this.#enter("closed", detail);
    this.#enter("waiting", { ...detail, ms });
    this.effects.push({ do: "wait", ms });
  }

  /** @param {number} code @param {number} nowMs */
  #delay(code, nowMs) {
    const askedMs = this.#asked && Math.max(0, this.#asked - nowMs);
    this.#asked = null;
    // Once: what is refused twice in a row is not a matter of time.
    const renew = code === CloseCode.UNAUTHORIZED && this.#renews && !this.#renewed;
    this.#renewed = code === CloseCode.UNAUTHORIZED;
    return renew ? this.#backoff.next() : delayAfterClose(code, { askedMs, backoff: this.#backoff });
  }

  /** @param {string} reason @param {number} nowMs */
  #giveUp(reason, nowMs) {
    this.effects.push({ do: "abandon" });
    this.dropped({ code: 1006, reason }, nowMs);
  }

  /** @param {StateMessage["phase"]} phase @param {Partial<StateMessage>} [detail] */
  #enter(phase, detail = {}) {
    this.phase = phase;
    this.#emit({ type: "state", phase, channel: this.#channel, ...detail });
  }

  /** @param {number} nowMs */
  #enterLive(nowMs) {
    if (!this.connected) return;
    const late = nowMs - this.#requests.subscribingSince >= ANSWER_LIMIT_MS;
    let reason;
    if (late) reason = "the server has not answered subscribe yet";
    else if (this.#away.size > 0) reason = "the server cannot reach its backend";
    const phase = reason ? "backend_unavailable" : "live";
    if (phase !== this.phase) this.#enter(phase, { authenticated: this.#authenticated, reason });
  }

  /** @param {import("./messages.js").Connected} message @param {number} nowMs */
  #welcome(message, nowMs) {
    this.#liveness = new Liveness(nowMs);
    this.#liveSince = nowMs;
    this.#renewed = false;
    this.#authenticated = message.authenticated;
    this.#away.clear();
    const waiting = this.#requests.all;
    this.#enter("live", { authenticated: this.#authenticated });
    this.#emit(message);
    // Joined by the URL, like both streams of alerts: only what was missed is to be asked for.
    this.#join(message.streams, nowMs);
    this.#recover([...this.#wanted].filter((symbol) => !(symbol in message.streams)), nowMs, true);
    for (const request of waiting) this.#ask(request, nowMs);
  }

  /** @param {Request} request @param {number} nowMs */
  #ask(request, nowMs) {
    const { message } = request;
    const since = message.type === "subscribe" ? this.#positions.since(message.symbols ?? []) : {};
    request.sentAt = nowMs;
    this.#send(Object.keys(since).length > 0 ? { ...message, since } : message);
  }

  /** @param {any} message @param {number} nowMs */
  #update(message, nowMs) {
    const name = this.#channel === "alerts" ? message.audience : message.symbol;
    const verdict = this.#positions.take(name, message);
    if (verdict === "apply") this.#emit(message);
    else if (verdict === "replay") this.#emit({ ...message, replayed: true });
    else if (verdict === "gap") this.#recover([name], nowMs);
    this.#reach(name, true, nowMs);
  }

  /** Whether the server can reach the backend of a stream.
   * @param {string} name @param {boolean} reached @param {number} nowMs */
  #reach(name, reached, nowMs) {
    if (reached !== this.#away.has(name)) return;
    this.#away[reached ? "delete" : "add"](name);
    this.#enterLive(nowMs);
  }

  /** @param {import("./messages.js").Streams} streams @param {number} nowMs */
  #join(streams, nowMs) {
    const { behind, lost } = this.#positions.join(streams, this.#history);
    for (const gap of lost) this.#emit(gap);
    this.#recover(behind, nowMs);
  }

  /** Subscribe (again) with `since`: the answer is followed by what was missed, or a snapshot.
   * @param {string[]} names @param {number} nowMs @param {boolean} [joins] not subscribed to yet */
  #recover(names, nowMs, joins) {
    for (let left = names; left.length > 0; left = left.slice(MAX_SYMBOLS)) {
      const symbols = left.slice(0, MAX_SYMBOLS);
      this.request({ type: "subscribe", symbols }, nowMs, { names: symbols, joins });
    }
  }

  /** @param {import("./messages.js").ErrorMessage} message @param {number} nowMs */
  #error(message, nowMs) {
    const request = this.#requests.take(message.id);
    const again = request?.joins && message.retry;
    if (message.retry_after_ms !== undefined && (again || message.code === "connection_limit")) {
      this.#asked = nowMs + message.retry_after_ms;
    }
    // Without it nothing would come: it is sent again with the next connection.
    if (again) return this.#giveUp(message.message, nowMs);
    if (message.id === undefined) this.#lastError = message.message;
    if (request && !request.names) this.#settle(request, { error: new AraError(message) });
    else this.#refused(message, request, nowMs);
    this.#enterLive(nowMs);
  }

  /** Subscriptions have ended, or are not resumed. A symbol that is not allowed any more takes the
   * others of its request with it: ask for those again.
   * @param {import("./messages.js").ErrorMessage} message @param {Request | undefined} request @param {number} nowMs */
  #refused(message, request, nowMs) {
    const names = request?.names ?? [];
    this.#emit(message);
    const forbidden = forbiddenSymbols(message);
    this.#leave(forbidden);
    const left = names.filter((name) => !forbidden.includes(name));
    if (left.length < names.length) this.#recover(left, nowMs, request?.joins);
    else this.#positions.abandon(names);
  }

  /** @param {string[]} symbols */
  #leave(symbols) {
    for (const symbol of symbols) this.#wanted.delete(symbol);
    this.#positions.forget(symbols);
  }

  /** These symbols are not wanted any more, before they were asked for. @param {string[]} symbols */
  #withdraw(symbols) {
    for (const request of this.#requests.all) {
      const left = request.message.symbols?.filter((symbol) => !symbols.includes(symbol));
      request.message.symbols = left;
      if (left?.length === 0) this.#fail(request, "unsubscribed");
    }
  }

  #failUnrepeated() {
    for (const request of this.#requests.all) {
      if (!request.repeat) this.#fail(request, "the connection was lost");
    }
  }

  /** @param {Request} request @param {string} message */
  #fail(request, message) {
    const error = new AraError({ code: NOT_CONNECTED, message, retry: true });
    this.#requests.take(request.message.id);
    this.#settle(request, { error });
  }

  /** @param {Request} request @param {{ answer?: any, error?: AraError }} outcome */
  #settle(request, outcome) {
    this.effects.push({ do: "settle", id: request.message.id, ...outcome });
  }

  /** @param {object} message */
  #send(message) {
    this.effects.push({ do: "send", message });
  }

  /** @param {any} detail */
  #emit(detail) {
    this.effects.push({ do: "emit", detail });
  }
}
