// The alerts beside the prices: newest first, filtered, acknowledged, counted in the title.

import { AlertList, SEVERITIES } from "./alert-list.js";
import { AlertNotices } from "./alert-notices.js";
import { fromTemplate } from "./dom.js";
import * as format from "./format.js";

const DRAWN = 50; // more of them nobody reads
const TITLE = document.title;
const TABS = "realtime-alerts";

export class AlertPanel {
  #element;
  #page;
  #notices;
  #alerts = new AlertList();
  #items = new Map(); // id -> element
  #fresh = []; // came since the last drawing
  #unspoken = []; // came since the last announcement
  #isUser = false; // whose acknowledgements the server keeps
  #frame = null;
  #tabs = globalThis.BroadcastChannel ? new BroadcastChannel(TABS) : null;

  /** `page`: see dashboard.js. Alerts that are not from the past are announced. */
  constructor(element, page) {
    this.#element = element;
    this.#page = page;
    this.#notices = new AlertNotices(element);
    page.alerts.addEventListener("connected", ({ detail }) => {
      this.#isUser = detail.authenticated;
      this.#readSeen();
    });
    page.alerts.addEventListener("alert", ({ detail }) => this.#add(detail));
    this.#part("[data-filters]").addEventListener("input", () => this.#draw());
    this.#part("[data-filters]").addEventListener("submit", (event) => event.preventDefault());
    this.#part("[data-read-all]").addEventListener("click", () => {
      this.#acknowledge(this.#shown.filter(({ read }) => !read).map(({ message }) => message.id));
    });
    this.#tabs?.addEventListener("message", () => this.#readSeen());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#alerts.unread > 0) this.#readSeen();
    });
  }

  /** Removes everything: the alerts of another user must not stay on the page. */
  userChanged() {
    this.#alerts.clear();
    this.#isUser = false;
    this.#fresh = [];
    this.#unspoken = [];
    this.#draw();
  }

  #add(message) {
    // Nobody's inbox: what was there before this page is not news.
    if (!this.#alerts.add(message, { read: !this.#isUser && message.replayed === true })) return;
    if (!message.replayed) {
      this.#fresh.push(message);
      this.#notices.tell(message);
    }
    this.#draw();
  }

  // Reading ---------------------------------------------------------------------------------------

  async #acknowledge(ids) {
    if (ids.length === 0) return;
    this.#explain("");
    try {
      if (this.#isUser) await this.#page.client.acknowledge(ids);
    } catch (error) {
      this.#explain(error.message);
      return;
    }
    if (this.#alerts.markRead(ids)) this.#draw();
    this.#tabs?.postMessage("acknowledged");
  }

  /** What this user has acknowledged, in another tab or elsewhere. */
  async #readSeen() {
    if (!this.#isUser) return;
    try {
      const { results } = await this.#page.rest.get("alerts");
      const seen = results.filter(({ acknowledged }) => acknowledged).map(({ id }) => id);
      if (this.#alerts.markRead(seen)) this.#draw();
    } catch {
      // Then they stay unread, and can be acknowledged once more.
    }
  }

  // Drawing ---------------------------------------------------------------------------------------

  get #shown() {
    const { severity, symbol, unread } = this.#part("[data-filters]").elements;
    const filter = { severity: severity.value, symbol: symbol.value, unread: unread.checked };
    return this.#alerts.shown(filter).slice(0, DRAWN);
  }

  #draw() {
    // A tab in the background draws nothing, and counts all the same.
    const { unread } = this.#alerts;
    document.title = unread > 0 ? `(${unread}) ${TITLE}` : TITLE;
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#drawNow();
    });
  }

  #drawNow() {
    const shown = this.#shown;
    const before = this.#items;
    this.#items = new Map();
    for (const { message, read } of shown) {
      const item = before.get(message.id) ?? this.#item(message);
      this.#showRead(item, read);
      this.#items.set(message.id, item);
    }
    arrange(this.#part("[data-alerts]"), [...this.#items.values()]);
    this.#showCounts(shown);
    this.#announce(this.#fresh.splice(0));
  }

  #showCounts(shown) {
    const { size, unread } = this.#alerts;
    this.#part("[data-no-alerts]").hidden = size > 0;
    this.#part("[data-none-shown]").hidden = size === 0 || shown.length > 0;
    this.#part("[data-filters]").hidden = size === 0;
    this.#part("[data-unread]").textContent = unread > 0 ? `${unread} unread` : "";
    const all = this.#part("[data-read-all]");
    all.hidden = !shown.some(({ read }) => !read);
    all.textContent = this.#isUser ? "Acknowledge these" : "Mark these as read";
  }

  #announce(messages) {
    for (const message of messages) this.#items.get(message.id)?.classList.add("new");
    if (messages.length === 0) return;
    this.#unspoken.push(...messages);
    this.#page.announce(() => this.#newest(this.#unspoken.splice(0)), "alerts");
  }

  /** Of alerts that came together the last one, and how many there are. */
  #newest(messages) {
    if (messages.length === 0) return "";
    const more = messages.length > 1 ? `, and ${messages.length - 1} more` : "";
    return `Alert: ${spoken(messages.at(-1))}${more}`;
  }

  #item({ id, data, audience, timestamp }) {
    const item = fromTemplate("alert");
    item.dataset.id = id;
    const part = (selector) => item.querySelector(selector);
    const severity = String(data.severity ?? "alert");
    item.dataset.severity = SEVERITIES.includes(severity) ? severity : "other";
    part(".severity").textContent = severity;
    part(".alert-symbol").textContent = data.symbol ?? "";
    part(".audience").hidden = audience !== "user";
    part("time").dateTime = timestamp;
    part("time").textContent = format.timeOfDay(timestamp);
    part(".alert-message").textContent = messageOf(data);
    part("button").addEventListener("click", () => {
      this.#acknowledge([id]);
      this.#part("[data-alerts]").focus(); // the button goes away
    });
    return item;
  }

  #showRead(item, read) {
    item.dataset.read = read ? "yes" : "no";
    const button = item.querySelector("button");
    button.hidden = read;
    button.textContent = this.#isUser ? "Acknowledge" : "Mark as read";
    const message = item.querySelector(".alert-message").textContent;
    button.setAttribute("aria-label", `${button.textContent}: ${message}`);
    item.querySelector("[data-seen]").textContent = read && this.#isUser ? "acknowledged" : "";
  }

  #explain(text) {
    this.#part("[data-notice-problem]").textContent = format.sentence(text);
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }
}

/** Make these the children of an element; those that stay are not moved, and keep the focus. */
function arrange(list, items) {
  const wanted = new Set(items);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  let place = list.firstElementChild;
  for (const item of items) {
    if (item === place) place = place.nextElementSibling;
    else list.insertBefore(item, place);
  }
}

function messageOf(data) {
  return typeof data.message === "string" ? data.message : JSON.stringify(data);
}

function spoken({ data, audience, timestamp }) {
  const whose = audience === "user" ? "only for you" : "";
  const words = [data.severity ?? "alert", data.symbol, whose, format.timeOfDay(timestamp)];
  return [...words, messageOf(data)].filter(Boolean).join(" ");
}
