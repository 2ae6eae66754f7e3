// Requests without an answer yet.

/**
 * @typedef {object} About
 * @property {boolean} [repeat] it outlives the connection: it is sent again with the next one
 * @property {string[]} [names] of streams that it recovers; nobody waits for its answer
 * @property {boolean} [joins] it subscribes to them, too
 */
/** @typedef {About & { message: import("./messages.js").Outgoing & { id: number }, sentAt: number }} Request */

export class Requests {
  /** @type {Map<unknown, Request>} by id */
  #open = new Map();
  #nextId = 1;

  /** @param {import("./messages.js").Outgoing} message @param {About} [about] */
  add(message, about) {
    const id = this.#nextId++;
    /** @type {Request} */
    const request = { ...about, message: { ...message, id }, sentAt: 0 };
    this.#open.set(id, request);
    return request;
  }

  /** @param {unknown} id */
  take(id) {
    const request = this.#open.get(id);
    this.#open.delete(id);
    return request;
  }

  get all() {
    return [...this.#open.values()];
  }

  /** Since when the oldest `subscribe` has waited; Infinity if none waits. */
  get subscribingSince() {
    const waiting = this.all.filter(({ message }) => message.type === "subscribe");
    return Math.min(...waiting.map(({ sentAt }) => sentAt));
  }
}
