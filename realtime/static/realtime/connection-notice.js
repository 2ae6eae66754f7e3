// One sentence about all connections while they are not live, and for a moment when they are back.

import * as format from "./format.js";

const BACK_MS = 5_000;
const TOPIC = "connection"; // of what is announced

export class ConnectionNotice {
  #element;
  #client;
  #announce;
  #known = false; // has it ever been live?
  #told = ""; // what is wrong, as it was announced
  #until = 0; // when the next attempt comes, or "back" goes; on performance.now()'s clock
  #timer;

  constructor(element, { client, announce }) {
    this.#element = element;
    this.#client = client;
    this.#announce = announce;
    element.querySelector("button").addEventListener("click", () => client.connect());
    client.on("state", () => this.#follow());
  }

  #follow() {
    const { phase, ms, reason } = this.#client.state;
    if (phase === "live") return this.#back();
    if (phase === "waiting") this.#until = performance.now() + ms;
    if (phase === "waiting" || phase === "backend_unavailable") this.#lose(phase, reason);
    else if (phase !== "connecting") this.#show("");
  }

  #lose(phase, reason) {
    const away = phase === "backend_unavailable";
    const broken = this.#known ? "Connection lost. These prices may be old." : "No connection.";
    const what = away ? `No updates: ${reason}. Is its Redis away?` : broken;
    if (what !== this.#told) this.#announce(what, TOPIC);
    this.#told = what;
    this.#show(away ? `${what} They go on when it is back.` : what, away ? "away" : "lost");
    if (!away) this.#count(what);
  }

  #back() {
    this.#known = true;
    if (this.#told === "") return this.#show("");
    this.#told = "";
    this.#announce("Connection is back.", TOPIC);
    this.#show("Connection is back.", "back");
    this.#timer = setTimeout(() => this.#show(""), BACK_MS);
  }

  /** While the page waits: for how long. */
  #count(what) {
    const seconds = Math.ceil(Math.max(0, this.#until - performance.now()) / 1000);
    const when = this.#client.state.phase === "waiting" ? `in ${format.age(seconds * 1000)}` : "now";
    this.#write(`${what} Trying again ${when}.`);
    this.#timer = setTimeout(() => this.#count(what), 500);
  }

  #show(text, state = "") {
    clearTimeout(this.#timer);
    this.#element.hidden = text === "";
    this.#element.dataset.state = state;
    this.#element.querySelector("button").hidden = state !== "lost";
    this.#write(text);
  }

  #write(text) {
    this.#element.querySelector("p").textContent = text;
  }
}
