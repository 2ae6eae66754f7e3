// The state of one socket, and what to do when it is not live.

import * as format from "./format.js";
import { Rate } from "./rate.js";

const STATE_TEXT = {
  idle: "Not connected",
  connecting: "Connecting",
  live: "Live",
  backend_unavailable: "No updates",
};
const CONNECTED = ["live", "backend_unavailable"];

const ANSWER_LIMIT_MS = 3000;
const NOTE_MS = 15_000; // for what has happened and is over
const NO_BACKEND = "The server cannot reach its Redis. The updates go on when it is back.";
const NO_ANSWER = "The server has not answered the subscription yet. Is its Redis away?";

export class ConnectionTile {
  #client;
  #parts;
  #deadline = null; // of the wait for a reconnect, on performance.now()'s clock
  #heard = null; // the last heartbeat
  #interval = null; // between two of them
  #asked = null; // when the subscription that has no answer yet was first seen
  #until = Infinity; // when the note on the screen goes
  roundTripMs = null;
  rate = new Rate();

  /** `onPhase(phase)`: for what else depends on it. */
  constructor(name, client, { onPhase }) {
    this.name = name;
    this.#client = client;
    this.element = document.getElementById("socket").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    this.#parts = {
      state: part(".socket-state"),
      facts: part(".socket-facts"),
      advice: part(".socket-advice"),
      button: part("button"),
    };
    part(".socket-name").textContent = name;
    this.#parts.button.setAttribute("aria-label", `Reconnect ${name} now`);
    this.#parts.button.addEventListener("click", () => client.connect());
    client.addEventListener("state", ({ detail }) => {
      this.#deadline = detail.phase === "waiting" ? performance.now() + detail.ms : null;
      if (!CONNECTED.includes(detail.phase)) this.#heard = this.roundTripMs = null;
      this.#explain(detail);
      this.render();
      onPhase(detail.phase);
    });
    client.addEventListener("connected", ({ detail }) => {
      this.#interval = detail.heartbeat_interval * 1000;
    });
    client.addEventListener("ping", () => {
      this.#heard = performance.now();
      this.render();
    });
    client.addEventListener("error", ({ detail }) => this.#warn(detail.message, NOTE_MS));
    client.addEventListener("token_expiring", () => {
      this.#warn("The token has expired. Enter a new one.");
    });
    client.addEventListener("authenticated", () => this.#warn(""));
    client.addEventListener("gap", ({ detail }) => {
      const lost = detail.to_offset - detail.from_offset + 1;
      const what = lost > 0 ? `${lost} updates are lost for good` : "the numbering has begun again";
      this.#warn(`${detail.symbol}: ${what}; the newest update is shown.`, NOTE_MS);
    });
    client.addEventListener("server_shutdown", () => this.#warn("The server is about to restart."));
  }

  async measureRoundTrip() {
    if (!CONNECTED.includes(this.#client.state.phase)) return;
    const start = performance.now();
    try {
      await this.#client.status();
      this.roundTripMs = performance.now() - start;
    } catch {
      this.roundTripMs = null; // lost meanwhile: the state says so
    }
    this.render();
  }

  render() {
    const { phase } = this.#client.state;
    const now = performance.now();
    this.element.dataset.phase = phase;
    this.#parts.state.textContent = this.#stateText(phase, now);
    this.#parts.facts.textContent = CONNECTED.includes(phase) ? this.#facts(now) : "";
    if (now >= this.#until) this.#warn("");
    this.#watchSubscription(now);
    this.#parts.button.hidden = phase !== "waiting" && phase !== "closed";
  }

  #stateText(phase, now) {
    if (phase === "waiting") {
      return `Reconnecting in ${Math.ceil(Math.max(0, this.#deadline - now) / 1000)} s`;
    }
    if (phase === "closed") return `Closed (${this.#client.state.code})`;
    return STATE_TEXT[phase];
  }

  #facts(now) {
    const facts = [`${this.rate.perSecond(now).toFixed(1)}/s`];
    if (this.roundTripMs !== null) facts.push(format.milliseconds(this.roundTripMs));
    if (this.#heard === null) facts.push(`heartbeat every ${format.age(this.#interval)}`);
    else facts.push(`heartbeat ${format.age(now - this.#heard)} ago`);
    return facts.join(" · ");
  }

  #watchSubscription(now) {
    this.#asked = this.#client.subscribing ? (this.#asked ?? now) : null;
    const late = this.#asked !== null && now - this.#asked > ANSWER_LIMIT_MS;
    const shown = this.#parts.advice.textContent === NO_ANSWER;
    if (late !== shown) this.#warn(late ? NO_ANSWER : "");
  }

  #explain({ phase, reason, advice }) {
    if (phase === "live" || phase === "idle") this.#warn("");
    else if (phase === "backend_unavailable") this.#warn(NO_BACKEND);
    else if (advice) this.#warn(`${format.sentence(reason)} ${advice}`.trim());
  }

  #warn(text, ms = Infinity) {
    this.#until = performance.now() + ms;
    this.#parts.advice.textContent = text;
    this.#parts.advice.hidden = text === "";
  }
}
