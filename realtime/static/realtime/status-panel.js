// What is going on: what the server knows of the three sockets of this page, while somebody looks.

import { make } from "./dom.js";
import * as format from "./format.js";

const EVERY_MS = 3_000;

export class StatusPanel {
  #element;
  #channels;
  #gaps = new Map(); // name of a channel -> gaps that it has told
  #timer = null;

  constructor(element, { market, predictions, alerts }) {
    this.#element = element;
    this.#channels = [market, predictions, alerts];
    for (const channel of this.#channels) {
      this.#gaps.set(channel.name, 0);
      channel.addEventListener("gap", () => this.#gaps.set(channel.name, this.#gaps.get(channel.name) + 1));
    }
    element.addEventListener("toggle", () => this.#toggle());
  }

  #toggle() {
    clearInterval(this.#timer);
    if (!this.#element.open) return;
    this.#look();
    this.#timer = setInterval(() => this.#look(), EVERY_MS);
  }

  async #look() {
    if (document.hidden) return;
    const asked = this.#channels.map((channel) => channel.status().catch((error) => ({ error })));
    const answers = await Promise.all(asked);
    const scrolled = [...this.#element.querySelectorAll(".scrolling")].map((each) => each.scrollTop);
    const parts = answers.map((answer, index) => this.#part(this.#channels[index], answer));
    this.#element.querySelector("[data-status]").replaceChildren(...parts);
    [...this.#element.querySelectorAll(".scrolling")].forEach((each, index) => {
      each.scrollTop = scrolled[index] ?? 0;
    });
  }

  #part(channel, { error, ...status }) {
    const title = make("h3", { text: channel.name });
    if (error) return make("section", {}, title, make("p", { class: "note", text: format.sentence(error.message) }));
    return make("section", {}, title, factsOf(status, this.#gaps.get(channel.name)), streamsOf(status.streams));
  }
}

function factsOf(status, gaps) {
  const { counters, credential, limits, server } = status;
  const facts = {
    Connection: status.connection_id,
    Server: `${server.id} · version ${server.version}`,
    "Round trip": status.rtt_ms === null ? "not measured before the first heartbeat" : format.milliseconds(status.rtt_ms),
    Credential: credential.expires_at ? `${credential.kind}, until ${format.moment(credential.expires_at)}` : credential.kind,
    Sent: counters.sent,
    Folded: counters.folded,
    Replayed: counters.replayed,
    Gaps: gaps,
    "Waiting bytes": counters.waiting_bytes,
  };
  for (const [name, { limit, left }] of Object.entries(limits)) {
    facts[sentenceCase(name)] = `${left.toLocaleString("en")} of ${limit.toLocaleString("en")} left`;
  }
  const pairs = Object.entries(facts).flatMap(([name, value]) => [
    make("dt", { text: name }),
    make("dd", { text: String(value) }),
  ]);
  return make("dl", { class: "figures" }, ...pairs);
}

function streamsOf(streams) {
  const row = (cell, ...texts) => make("tr", {}, ...texts.map((text) => make(cell, { text: String(text) })));
  const body = Object.entries(streams).map(([name, { epoch, offset }]) => row("td", name, epoch, offset));
  const table = make("table", {}, make("thead", {}, row("th", "Stream", "Epoch", "Offset")), make("tbody", {}, ...body));
  return make("div", { class: "scrolling", tabindex: "0", role: "group", "aria-label": "Positions of the streams" }, table);
}

function sentenceCase(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
