// An EventTarget whose events are typed.

import { optionalFunction } from "./arguments.js";

/** @typedef {import("./messages.js").Events} Events */
/** @typedef {import("./messages.js").ChannelName} ChannelName */

/**
 * @typedef {Omit<EventTarget, "addEventListener"> & {
 *   addEventListener<T extends keyof Events>(
 *     type: T,
 *     listener: ((event: CustomEvent<Events[T]> & { channel: ChannelName }) => void) | null,
 *     options?: AddEventListenerOptions | boolean,
 *   ): void;
 * }} Target
 */

export class Emitter extends /** @type {new () => Target} */ (EventTarget) {
  /**
   * Calls `listener(message, channel)` for each message of this type; returns the function that
   * ends it.
   * @template {keyof Events} T
   * @param {T} type
   * @param {(message: Events[T], channel: ChannelName) => void} listener
   * @returns {() => void}
   */
  on(type, listener) {
    optionalFunction(listener ?? null, "listener");
    const call = (/** @type {any} */ event) => listener(event.detail, event.channel);
    this.addEventListener(type, call);
    return () => this.removeEventListener(type, call);
  }

  /** @param {{ type: string }} detail @param {ChannelName} channel */
  emit(detail, channel) {
    this.dispatchEvent(Object.assign(new CustomEvent(detail.type, { detail }), { channel }));
  }
}
