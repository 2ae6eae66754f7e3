// The state of one socket, and what to do when it is not live.

import { adviceFor, closeCodeName } from "./advice.js";
import * as format from "./format.js";
import { Rate } from "./rate.js";

const STATE_TEXT = {
  idle: "Not connected",
  connecting: "Connecting",
  live: "Live",
  backend_unavailable: "No updates",
};
const CONNECTED = ["live", "backend_unavailable"];

const NOTE_MS = 15_000; // for what has happened and is over

export class ConnectionTile {
  #channel;
  #parts;
  #deadline = null; // of the wait for a reconnect, on performance.now()'s clock
  #heard = null; // the last heartbeat
  #interval = null; // between two of them
  #until = Infinity; // when the note on the screen goes
  roundTripMs = null;
  rate = new Rate();

  /** `onPhase(phase)`: for what else depends on it. */
  constructor(name, channel, { onPhase }) {
    this.name = name;
    this.#channel = channel;
    this.element = document.getElementById("socket").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.element.querySelector(selector);
    this.#parts = {
      state: part(".socket-state"),
      facts: part(".socket-facts"),
      advice: part(".socket-advice"),
      button: part("button"),
    };
    part(".socket-name").textContent = name;
    this.#parts.button.setAttribute("aria-label", `Reconnect now: ${name}`);
    this.#parts.button.addEventListener("click", () => channel.connect());
    channel.addEventListener("state", ({ detail }) => {
      this.#deadline = detail.phase === "waiting" ? performance.now() + detail.ms : null;
      if (!CONNECTED.includes(detail.phase)) this.#heard = this.roundTripMs = null;
      this.#explain(detail);
      this.render();
      onPhase(detail.phase);
    });
    channel.addEventListener("connected", ({ detail }) => {
      this.#interval = detail.heartbeat_interval * 1000;
    });
    channel.addEventListener("ping", () => {
      this.#heard = performance.now();
      this.render();
    });
    channel.addEventListener("error", ({ detail }) => this.#warn(detail.message, NOTE_MS));
    channel.addEventListener("token_expiring", () => {
      this.#warn("The token has expired. Enter a new one.");
    });
    channel.addEventListener("authenticated", () => this.#warn(""));
    channel.addEventListener("gap", ({ detail }) => {
      const lost = detail.to_offset - detail.from_offset + 1;
      const what = lost > 0 ? `${lost} updates are lost for good` : "the numbering has begun again";
      this.#warn(`${detail.symbol}: ${what}; the newest update is shown.`, NOTE_MS);
    });
    channel.addEventListener("server_shutdown", () => this.#warn("The server is about to restart."));
  }

  async measureRoundTrip() {
    if (!CONNECTED.includes(this.#channel.state.phase)) return;
    const start = performance.now();
    try {
      await this.#channel.status();
      this.roundTripMs = performance.now() - start;
    } catch {
      this.roundTripMs = null; // lost meanwhile: the state says so
    }
    this.render();
  }

  render() {
    const { phase } = this.#channel.state;
    const now = performance.now();
    this.element.dataset.phase = phase;
    this.#parts.state.textContent = this.#stateText(phase, now);
    this.#parts.facts.textContent = CONNECTED.includes(phase) ? this.#facts(now) : "";
    if (now >= this.#until) this.#warn("");
    this.#parts.button.hidden = phase !== "waiting" && phase !== "closed";
  }

  #stateText(phase, now) {
    if (phase === "waiting") {
      return `Reconnecting in ${Math.ceil(Math.max(0, this.#deadline - now) / 1000)} s`;
    }
    if (phase === "closed") return `Closed (${this.#channel.state.code})`;
    return STATE_TEXT[phase];
  }

  #facts(now) {
    const facts = [`${this.rate.perSecond(now).toFixed(1)}/s`];
    if (this.roundTripMs !== null) facts.push(format.milliseconds(this.roundTripMs));
    if (this.#heard === null) facts.push(`heartbeat every ${format.age(this.#interval)}`);
    else facts.push(`heartbeat ${format.age(now - this.#heard)} ago`);
    return facts.join(" · ");
  }

  #explain({ phase, reason, code }) {
    if (phase === "live" || phase === "idle") this.#warn("");
    else if (phase === "backend_unavailable") this.#warn(`${format.sentence(reason)} Is its Redis away?`);
    else if (code) this.#warn(`${format.sentence(reason || closeCodeName(code))} ${adviceFor(code)}`.trim());
  }

  #warn(text, ms = Infinity) {
    this.#until = performance.now() + ms;
    this.#parts.advice.textContent = text;
    this.#parts.advice.hidden = text === "";
  }
}
