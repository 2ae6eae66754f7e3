// The state of the three connections, and what they carry together.

import { ConnectionTile } from "./connection-tile.js";
import * as format from "./format.js";

const ROUND_TRIP_EVERY_MS = 10_000;
const DRAW_EVERY_MS = 500;
const UPDATES = ["market_data_update", "prediction_update", "alert"];

export class ConnectionsPanel {
  #element;
  #tiles;

  /** `element`: the list of tiles, and beside it the totals. */
  constructor(element, { market, predictions, alerts, announce }) {
    this.#element = element;
    const channels = [["Market data", market], ["Predictions", predictions], ["Alerts", alerts]];
    this.#tiles = channels.map(([name, channel]) => this.#tile(name, channel, announce));
    setInterval(() => this.#draw(), DRAW_EVERY_MS);
    setInterval(() => this.#measure(), ROUND_TRIP_EVERY_MS);
  }

  #tile(name, channel, announce) {
    const tile = new ConnectionTile(name, channel, {
      onPhase(phase) {
        if (phase === "live") tile.measureRoundTrip();
        if (phase === "closed") announce(`${name}: closed.`);
      },
    });
    for (const type of UPDATES) {
      channel.addEventListener(type, ({ detail }) => {
        if (!detail.replayed) tile.rate.count(performance.now());
      });
    }
    this.#element.querySelector("[data-sockets]").append(tile.element);
    tile.render();
    return tile;
  }

  #measure() {
    if (!document.hidden) for (const tile of this.#tiles) tile.measureRoundTrip();
  }

  #draw() {
    for (const tile of this.#tiles) tile.render();
    const now = performance.now();
    const total = this.#tiles.reduce((sum, tile) => sum + tile.rate.perSecond(now), 0);
    this.#element.querySelector("[data-rate]").textContent = total.toFixed(1);
    const times = this.#tiles.map((tile) => tile.roundTripMs).filter(Number.isFinite);
    const median = times.sort((a, b) => a - b)[times.length >> 1];
    this.#element.querySelector("[data-latency]").textContent = format.milliseconds(median);
  }
}
