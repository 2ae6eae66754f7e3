// One conversation with the server, over as many sockets as it takes. Pure: it is told what
// happened and answers with a list of effects that ara-client.js carries out:
//   { do: "open" }                      open a socket
//   { do: "wait", ms }                  come back with start() after this time
//   { do: "send", message }             write this message
//   { do: "emit", type, detail }        tell the page
//   { do: "settle", id, answer | error }  the outcome of request `id`
// `nowMs` arguments come from one monotonic clock.

import { Backoff, delayAfterClose, Positions } from "./ara-core.js";
import { adviceFor, closeCodeName, ErrorCode } from "./protocol.js";

/** `code` of an AraError that is not the server's: there was no connection, or it was lost. */
export const NOT_CONNECTED = "not_connected";

const UPDATES = new Set(["prediction_update", "market_data_update", "alert"]);
const STEADY_MS = 10_000; // a connection that lived this long was no failed attempt
const CONNECT_LIMIT_MS = 15_000;

/** Raised for a request that failed: an error message of the server, or the loss of the socket. */
export class AraError extends Error {
  constructor({ code, message, details = null, retry = false, retry_after_ms: wait = null }) {
    super(message);
    this.name = "AraError";
    Object.assign(this, { code, details, retry, retryAfterMs: wait });
  }
}

export class Session {
  #positions = new Positions();
  #wanted = new Set(); // symbols that the server has confirmed
  #requests = new Map(); // id -> { message, repeat, names }; names: streams being recovered
  #nextId = 1;
  #liveSince = null;
  #authenticated = false;
  #away = new Set(); // streams whose backend the server cannot reach
  #asked = null; // { ms, at }: when the server wants us back
  #lastError = ""; // of this socket: why the server closes it

  constructor({ channel, history = 0, backoff = new Backoff() }) {
    this.channel = channel;
    this.history = history;
    this.backoff = backoff;
    this.phase = "idle"; // connecting, live, backend_unavailable, waiting, closed
    this.heartbeatMs = null;
  }

  /** Is there a socket that has said `connected`? */
  get #connected() {
    return this.#liveSince !== null;
  }

  /** Silence after which the socket is dead, in ms. */
  get silenceLimitMs() {
    return this.#connected ? 2 * this.heartbeatMs + 5_000 : CONNECT_LIMIT_MS;
  }

  /** Is a `subscribe` without its answer? Then the prices on the page may not be the newest. */
  get subscribing() {
    const requests = [...this.#requests.values()];
    return this.#connected && requests.some(({ message }) => message.type === "subscribe");
  }

  /** Open a socket; one that is there is given up by the caller. */
  start() {
    this.#lastError = "";
    this.#liveSince = null;
    const lost = this.#fail((request) => !request.repeat, "the connection was replaced");
    return [...lost, ...this.#enter("connecting"), { do: "open" }];
  }

  /** Ends for good; requests without an answer fail. */
  stop() {
    this.#liveSince = null;
    return [...this.#fail(() => true, "closed by this page"), ...this.#enter("idle")];
  }

  /** Another user: what was seen so far says nothing about their streams. */
  forget() {
    this.#positions.forget();
  }

  subscribe(symbols) {
    return this.#request({ type: "subscribe", symbols: [...symbols] }, { repeat: true });
  }

  unsubscribe(symbols) {
    for (const symbol of symbols) this.#wanted.delete(symbol);
    this.#positions.forget(symbols);
    return this.#request({ type: "unsubscribe", symbols: [...symbols] });
  }

  /** Any other request; it fails when the socket is lost before the answer. */
  request(message) {
    return this.#request(message);
  }

  received(message, nowMs) {
    if (UPDATES.has(message.type)) return this.#update(message);
    switch (message.type) {
      case "connected":
        return this.#welcome(message, nowMs);
      case "ping":
        return [
          { do: "send", message: { type: "pong" } },
          emit(message),
          ...this.#recover(this.#positions.compare(message.heads)),
        ];
      case "subscribed":
      case "unsubscribed":
        // The streams of alerts come with the socket, not by subscription.
        if (this.channel !== "alerts") this.#wanted = new Set(message.symbols);
        return [...this.#answer(message), ...this.#join(message.streams)];
      case "stream_status":
        return [
          emit(message),
          ...this.#reach(message.symbol, message.reason !== "backend_unavailable"),
        ];
      case "gap":
        this.#positions.skip(message.symbol, { epoch: message.epoch, offset: message.to_offset });
        return [emit(message)];
      case "server_shutdown":
        this.#asked = { ms: message.reconnect_in_ms, at: nowMs };
        return [emit(message)];
      case "error":
        return this.#error(message, nowMs);
      default:
        return message.id === undefined ? [emit(message)] : this.#answer(message);
    }
  }

  /** The socket is gone. */
  dropped({ code, reason }, nowMs) {
    if (this.#liveSince !== null && nowMs - this.#liveSince >= STEADY_MS) this.backoff.reset();
    this.#liveSince = null;
    const askedMs = this.#asked && Math.max(0, this.#asked.ms - (nowMs - this.#asked.at));
    this.#asked = null;
    const ms = delayAfterClose(code, { askedMs, backoff: this.backoff });
    const detail = {
      code,
      reason: this.#lastError || reason || closeCodeName(code),
      advice: adviceFor(code),
    };
    const effects = this.#fail((request) => !request.repeat, "the connection was lost");
    // What was subscribed to stays wanted, also when somebody has to act first.
    if (ms === null) return [...effects, ...this.#enter("closed", detail)];
    return [...effects, ...this.#enter("waiting", { ...detail, ms }), { do: "wait", ms }];
  }

  #enter(phase, detail = {}) {
    this.phase = phase;
    return [{ do: "emit", type: "state", detail: { phase, ...detail } }];
  }

  #request(message, { repeat = false, names = null } = {}) {
    const id = this.#nextId++;
    const request = { message: { ...message, id }, repeat, names };
    if (this.#connected) {
      this.#requests.set(id, request);
      return { id, effects: [{ do: "send", message: request.message }] };
    }
    if (repeat) {
      this.#requests.set(id, request); // sent when the connection is there
      return { id, effects: [] };
    }
    const error = new AraError({ code: NOT_CONNECTED, message: "not connected", retry: true });
    return { id, effects: [{ do: "settle", id, error }] };
  }

  #welcome(message, nowMs) {
    this.#liveSince = nowMs;
    this.#authenticated = message.authenticated;
    this.#away.clear();
    this.heartbeatMs = message.heartbeat_interval * 1000;
    const waiting = [...this.#requests.values()];
    const effects = [...this.#enterLive(), emit(message)];
    // Joined by the URL, like both streams of alerts: only what was missed is to be asked for.
    effects.push(...this.#join(message.streams));
    const symbols = [...this.#wanted].filter((symbol) => !(symbol in message.streams));
    if (symbols.length > 0) effects.push(...this.#resume(symbols));
    effects.push(...waiting.map((request) => ({ do: "send", message: request.message })));
    return effects;
  }

  #update(message) {
    const name = this.channel === "alerts" ? message.audience : message.symbol;
    const verdict = this.#positions.take(name, message);
    const back = this.#reach(name, true);
    if (verdict === "apply") return [emit(message), ...back];
    if (verdict === "replay") return [emit({ ...message, replayed: true }), ...back];
    return verdict === "gap" ? [...this.#recover([name]), ...back] : back;
  }

  /** Whether the server can reach the backend of a stream; of any other it says nothing. */
  #reach(name, reached) {
    if (reached === !this.#away.has(name)) return [];
    if (reached) this.#away.delete(name);
    else this.#away.add(name);
    return this.#enterLive();
  }

  #enterLive() {
    const phase = this.#away.size > 0 ? "backend_unavailable" : "live";
    return phase === this.phase ? [] : this.#enter(phase, { authenticated: this.#authenticated });
  }

  #join(streams) {
    const { behind, lost } = this.#positions.join(streams, this.history);
    return [...lost.map(emit), ...this.#recover(behind)];
  }

  #recover(names) {
    return names.length === 0 ? [] : this.#resume(names);
  }

  /** Subscribe (again) with `since`: the answer is followed by what was missed, or a snapshot. */
  #resume(names) {
    const since = this.#positions.since(names);
    const message = { type: "subscribe", symbols: names };
    if (Object.keys(since).length > 0) message.since = since;
    return this.#request(message, { names }).effects;
  }

  #answer(message) {
    if (!this.#requests.delete(message.id)) return [emit(message)];
    return [{ do: "settle", id: message.id, answer: message }, emit(message)];
  }

  #error(message, nowMs) {
    if (message.code === ErrorCode.CONNECTION_LIMIT && message.retry_after_ms !== undefined) {
      this.#asked = { ms: message.retry_after_ms, at: nowMs };
    }
    if (message.id === undefined) this.#lastError = message.message;
    const request = this.#requests.get(message.id);
    if (request === undefined) {
      this.#drop(forbiddenSymbols(message)); // subscriptions that have ended
      return [emit(message)];
    }
    this.#requests.delete(message.id);
    if (request.names !== null) {
      this.#positions.abandon(request.names);
      return [emit(message), ...this.#resumeWithout(forbiddenSymbols(message), request.names)];
    }
    return [{ do: "settle", id: message.id, error: new AraError(message) }];
  }

  /** One symbol that is not allowed any more refuses the others, too: ask for those again. */
  #resumeWithout(forbidden, names) {
    this.#drop(forbidden);
    const left = names.filter((name) => !forbidden.includes(name));
    return left.length < names.length ? this.#recover(left) : [];
  }

  #drop(symbols) {
    for (const symbol of symbols) this.#wanted.delete(symbol);
    if (symbols.length > 0) this.#positions.forget(symbols);
  }

  #fail(which, reason) {
    const effects = [];
    for (const [id, request] of this.#requests) {
      if (!which(request)) continue;
      this.#requests.delete(id);
      const error = new AraError({ code: NOT_CONNECTED, message: reason, retry: true });
      effects.push({ do: "settle", id, error });
    }
    return effects;
  }
}

/** The symbols of an error that the credential does not allow. */
export function forbiddenSymbols({ code, details }) {
  return code === ErrorCode.FORBIDDEN ? Object.keys(details?.symbols ?? {}) : [];
}

function emit(message) {
  return { do: "emit", type: message.type, detail: message };
}
