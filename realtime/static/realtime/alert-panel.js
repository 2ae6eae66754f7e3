// The alerts beside the prices, newest first.

import * as format from "./format.js";

const KEPT = 50;
// The text names the severity as well: the colour is not needed to read it.
const SEVERITIES = ["low", "medium", "high", "critical"];

export class AlertPanel {
  #ids = new Set();

  /** `page`: see dashboard.js. Alerts that are not from the past are announced. */
  constructor(element, page) {
    this.list = element.querySelector("[data-alerts]");
    this.emptyNote = element.querySelector("[data-no-alerts]");
    this.announce = page.announce;
    page.alerts.addEventListener("alert", ({ detail }) => this.add(detail));
  }

  add(message) {
    if (this.#ids.has(message.id)) return;
    this.#ids.add(message.id);
    const item = this.#item(message);
    const after = [...this.list.children].find((other) => other.dataset.time <= message.timestamp);
    this.list.insertBefore(item, after ?? null);
    while (this.list.children.length > KEPT) {
      this.#ids.delete(this.list.lastElementChild.dataset.id);
      this.list.lastElementChild.remove();
    }
    this.emptyNote.hidden = true;
    if (!message.replayed) {
      item.classList.add("new");
      this.announce(`Alert: ${spoken(item)}`);
    }
  }

  /** Removes everything: the alerts of another user must not stay on the page. */
  userChanged() {
    this.#ids.clear();
    this.list.replaceChildren();
    this.emptyNote.hidden = false;
  }

  #item({ id, data, audience, timestamp }) {
    const item = document.getElementById("alert").content.firstElementChild.cloneNode(true);
    item.dataset.id = id;
    item.dataset.time = timestamp;
    const part = (selector) => item.querySelector(selector);
    const severity = String(data.severity ?? "alert");
    item.dataset.severity = SEVERITIES.includes(severity) ? severity : "other";
    part(".severity").textContent = severity;
    part(".alert-symbol").textContent = data.symbol ?? "";
    part(".audience").hidden = audience !== "user";
    part("time").dateTime = timestamp;
    part("time").textContent = format.timeOfDay(timestamp);
    part(".alert-message").textContent = data.message ?? JSON.stringify(data);
    return item;
  }
}

/** The text of an element without its hidden parts. */
function spoken(element) {
  const parts = [...element.querySelectorAll(":not(:has(*))")].filter((part) => !part.hidden);
  return parts.map((part) => part.textContent.trim()).filter(Boolean).join(" ");
}
