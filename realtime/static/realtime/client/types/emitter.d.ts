declare const Emitter_base: new () => Target;
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
export class Emitter extends Emitter_base {
    /**
     * Calls `listener(message, channel)` for each message of this type; returns the function that
     * ends it.
     * @template {keyof Events} T
     * @param {T} type
     * @param {(message: Events[T], channel: ChannelName) => void} listener
     * @returns {() => void}
     */
    on<T extends keyof Events>(type: T, listener: (message: Events[T], channel: ChannelName) => void): () => void;
    /** @param {{ type: string }} detail @param {ChannelName} channel */
    emit(detail: {
        type: string;
    }, channel: ChannelName): void;
}
export type Events = import("./messages.js").Events;
export type ChannelName = import("./messages.js").ChannelName;
export type Target = Omit<EventTarget, "addEventListener"> & {
    addEventListener<T extends keyof Events>(type: T, listener: ((event: CustomEvent<Events[T]> & {
        channel: ChannelName;
    }) => void) | null, options?: AddEventListenerOptions | boolean): void;
};
export {};
