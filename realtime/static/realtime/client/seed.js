// The client of the customer's document, with its interface: it reconnects, resumes and follows
// one symbol. `onPredictionUpdate` and `handleMessage` are there to be replaced.

import { AraClient } from "./client.js";

export class ARAWebSocketClient {
  #client;
  #channel;

  /**
   * @param {string} endpoint such as `ws://localhost:8000/ws/predictions`
   * @param {string} symbol
   * @param {string | null} [token] a JWT or an API key
   * @param {Pick<import("./client.js").ClientOptions, "getToken" | "getTicket" | "WebSocket">} [options]
   */
  constructor(endpoint, symbol, token = null, options = {}) {
    const [, channel] = /** @type {any} */ (/([^/]*)\/?$/.exec(endpoint));
    this.endpoint = endpoint;
    this.symbol = symbol;
    this.token = token;
    this.#client = new AraClient({ ...options, channel, url: endpoint, token });
    this.#channel = this.#client.channel(channel);
    this.#client.emit = (/** @type {any} */ message) => {
      if (message.type !== "state") this.handleMessage(message);
    };
    if (channel !== "alerts") this.#channel.follow(symbol);
  }

  /** The socket of the moment; null if there is none. */
  get ws() {
    return this.#channel.socket;
  }

  connect() {
    this.#client.connect();
  }

  /** @param {import("./messages.js").ServerMessage} message */
  handleMessage(message) {
    if (message.type === "prediction_update") this.onPredictionUpdate(message.data);
    else if (message.type === "error") console.error("Server error:", message.message);
  }

  /** @param {import("./messages.js").PredictionUpdate["data"]} data */
  onPredictionUpdate(data) {
    console.log("Prediction update:", data);
  }

  /** Follow this symbol in the place of the one before. @param {string} newSymbol */
  subscribe(newSymbol) {
    if (newSymbol === this.symbol) return;
    this.#channel.follow(newSymbol);
    this.#channel.unsubscribe(this.symbol).catch(() => {}); // not connected: withdrawn
    this.symbol = newSymbol;
  }

  disconnect() {
    this.#client.close();
  }
}
