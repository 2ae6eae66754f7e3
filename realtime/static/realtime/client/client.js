// A client of one or more channels:
//   const client = new AraClient({ symbols: ["AAPL"] });
//   client.on("market_data_update", ({ symbol, data }) => console.log(symbol, data.price));
//   client.connect();
// It answers pings, notices lost updates and a dead connection, reconnects and resumes.

import { listOf, optionalFunction } from "./arguments.js";
import { Channel } from "./channel.js";
import { Credentials } from "./credentials.js";
import { Emitter } from "./emitter.js";
import { CHANNELS, CloseCode } from "./protocol.js";

/** @typedef {import("./messages.js").ChannelName} ChannelName */
/** @typedef {import("./arguments.js").Names} Names */
/**
 * @typedef {object} ClientOptions
 * @property {ChannelName} [channel] the first channel: "market-data" unless you say otherwise
 * @property {string} [url] where the server has its WebSockets: `wss://example.com/ws`; in a page
 *   from the same server it can be left out
 * @property {string | null} [token] a JWT or an API key
 * @property {import("./credentials.js").Callback} [getToken] asked before each connect, and when the
 *   token of an open socket has expired
 * @property {import("./credentials.js").Callback} [getTicket] the same, for one-use tickets
 * @property {import("./messages.js").SocketClass} [WebSocket] where the runtime has none
 */

// Of several channels, the state of the first of these phases counts.
const PHASES = ["closed", "waiting", "connecting", "backend_unavailable", "idle", "live"];

export class AraClient extends Emitter {
  /** @type {Map<ChannelName, Channel>} */
  #channels = new Map();
  #credentials;
  #url;
  #WebSocket;
  #first;
  #connecting = false;

  /** @param {ClientOptions & import("./channel.js").ChannelOptions} [options] */
  constructor(options = {}) {
    const { channel = "market-data", url, WebSocket } = options;
    super();
    if (url !== undefined) addressOf(url, channel);
    this.#credentials = new Credentials(options);
    this.#url = url;
    this.#WebSocket = optionalFunction(WebSocket, "WebSocket");
    this.#first = channel;
    this.channel(channel, options);
  }

  /** A channel of this client, which is made with its first mention.
   * @param {ChannelName} name @param {import("./channel.js").ChannelOptions} [options] */
  channel(name, { symbols = [], history = 0, since } = {}) {
    const channel = this.#channels.get(name) ?? this.#add(name, history);
    channel.follow(symbols, since);
    return channel;
  }

  /** @param {ChannelName} name @param {number} history */
  #add(name, history) {
    if (!CHANNELS.includes(name)) throw new TypeError(`channel: give one of ${CHANNELS.join(", ")}.`);
    const channel = new Channel(name, history, {
      url: () => addressOf(this.#url, name),
      credentials: this.#credentials,
      WebSocket: this.#WebSocket,
      parent: this,
    });
    this.#channels.set(name, channel);
    if (this.#connecting) channel.connect();
    return channel;
  }

  /** The state of its channel; of several, of the one that is worst off. */
  get state() {
    const states = [...this.#channels.values()].map(({ state }) => state);
    return states.sort((a, b) => PHASES.indexOf(a.phase) - PHASES.indexOf(b.phase))[0];
  }

  /** Connect now; while waiting to reconnect, do not wait any longer. */
  connect() {
    this.#connecting = true;
    for (const channel of this.#channels.values()) channel.connect();
  }

  close() {
    this.#connecting = false;
    for (const channel of this.#channels.values()) channel.close();
  }

  /** A JWT, an API key, or "" for none: connects again with it. @param {string | null} token */
  setToken(token) {
    this.#credentials.keep(token);
    this.#connecting = true;
    for (const channel of this.#channels.values()) channel.restart();
  }

  /**
   * Extends the session with a fresh token of the same user, which later connections use too.
   * Resolves with the last answer, or null if no channel is connected.
   * @param {string} token
   */
  async authenticate(token) {
    this.#credentials.keep(token);
    /** @type {Promise<import("./messages.js").Authenticated>[]} */
    const asked = [];
    for (const channel of this.#channels.values()) {
      if (channel.connected) asked.push(channel.request({ type: "auth", token }));
      else if (channel.state.code === CloseCode.UNAUTHORIZED) channel.connect();
    }
    return (await Promise.all(asked)).at(-1) ?? null;
  }

  /** Adds symbols to the first channel, or to the one that is named.
   * @param {Names} symbols @param {ChannelName} [channel] */
  subscribe(symbols, channel = this.#first) {
    return this.channel(channel).subscribe(symbols);
  }

  /** @param {Names} symbols @param {ChannelName} [channel] */
  unsubscribe(symbols, channel = this.#first) {
    return this.channel(channel).unsubscribe(symbols);
  }

  /** @param {ChannelName} [channel] */
  status(channel = this.#first) {
    return this.channel(channel).status();
  }

  /** Resolves with `prediction_requested`; the prediction itself arrives as an update.
   * @param {string} symbol @param {number} [horizon] in steps
   * @returns {Promise<import("./messages.js").PredictionRequested>} */
  requestPrediction(symbol, horizon = 1) {
    const [name] = listOf(symbol, "symbol");
    return this.channel("predictions").request({ type: "request_prediction", symbol: name, horizon });
  }

  /** @param {Names} ids @returns {Promise<import("./messages.js").Acked>} */
  acknowledge(ids) {
    return this.channel("alerts").request({ type: "ack", ids: listOf(ids, "ids") });
  }

  /** @param {import("./messages.js").AlertConfig} config
   * @returns {Promise<import("./messages.js").AlertsConfigured>} */
  configureAlerts(config) {
    return this.channel("alerts").request({ type: "configure_alerts", config });
  }
}

/** The URL of a channel below `url`, which may also be that of a channel itself.
 * @param {unknown} url @param {ChannelName} channel */
function addressOf(url, channel) {
  const text = url ?? "/ws";
  const page = globalThis.location?.href;
  const address = typeof text === "string" && URL.canParse(text, page) && new URL(text, page);
  if (!address || !/^(ws|http)s?:/.test(address.protocol)) {
    throw new TypeError(`url: ${text} is not an address such as wss://example.com/ws.`);
  }
  const base = address.pathname.replace(/(\/(predictions|market-data|alerts))?\/?$/, "");
  address.pathname = `${base || "/ws"}/${channel}`;
  address.protocol = address.protocol.replace("http", "ws");
  address.search = address.hash = "";
  return address.href;
}
