// Requests without an answer yet.

/**
 * @typedef {object} Request
 * @property {import("./messages.js").Outgoing & { id: number }} message
 * @property {boolean} repeat it outlives the connection: it is sent again with the next one
 * @property {string[] | null} names of streams that it recovers; nobody waits for its answer
 * @property {boolean} [joins] it subscribes to them, too
 * @property {number} sentAt
 */

export class Requests {
  /** @type {Map<unknown, Request>} by id */
  #open = new Map();
  #nextId = 1;

  /** @param {import("./messages.js").Outgoing} message @param {Partial<Request>} about */
  add(message, about) {
    const id = this.#nextId++;
    const request = { repeat: false, names: null, sentAt: 0, ...about, message: { ...message, id } };
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
