// The alerts that a page holds, newest first: which are read, and which a filter shows. Pure.

export const SEVERITIES = ["low", "medium", "high", "critical"];
const KEPT = 300; // as many as a server replays of an inbox

export class AlertList {
  #alerts = []; // { message, read }, newest first
  #ids = new Set();

  /** False for one that is here already. */
  add(message, { read = false } = {}) {
    if (this.#ids.has(message.id)) return false;
    this.#ids.add(message.id);
    const after = this.#alerts.findIndex((other) => other.message.timestamp <= message.timestamp);
    this.#alerts.splice(after === -1 ? this.#alerts.length : after, 0, { message, read });
    for (const { message: old } of this.#alerts.splice(KEPT)) this.#ids.delete(old.id);
    return true;
  }

  /** Mark alerts as read; returns whether that has changed anything. */
  markRead(ids) {
    const changed = this.#alerts.filter((alert) => !alert.read && ids.includes(alert.message.id));
    for (const alert of changed) alert.read = true;
    return changed.length > 0;
  }

  clear() {
    this.#alerts = [];
    this.#ids.clear();
  }

  get size() {
    return this.#alerts.length;
  }

  get unread() {
    return this.#alerts.filter(({ read }) => !read).length;
  }

  /** `severity`: this one and above, "" for every one; `symbol`: the beginning of it. An alert without
   * a severity or a symbol is not held back, as on the server. */
  shown({ severity = "", symbol = "", unread = false } = {}) {
    const least = SEVERITIES.indexOf(severity);
    const begin = symbol.trim().toUpperCase();
    return this.#alerts.filter(({ message: { data }, read }) => {
      const rank = SEVERITIES.indexOf(data.severity);
      const named = typeof data.symbol === "string" ? data.symbol.toUpperCase() : begin;
      return (rank === -1 || rank >= least) && named.startsWith(begin) && !(unread && read);
    });
  }
}
