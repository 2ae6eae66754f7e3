/** @typedef {import("./messages.js").Outgoing} Outgoing */
/** @typedef {import("./messages.js").StateMessage} StateMessage */
/** @typedef {import("./requests.js").Request} Request */
/** @typedef {{ do: "settle", id: number, answer?: any, error?: AraError }} Settled */
/** @typedef {{ do: "open" } | { do: "abandon" } | { do: "wait", ms: number } | { do: "send", message: object } | { do: "emit", detail: any } | Settled} Effect */
export class Session {
    /** `renews`: another credential can be had when the server refuses one.
     * @param {{ channel: string, history?: number, backoff?: Backoff, renews?: boolean }} options */
    constructor({ channel, history, backoff, renews }: {
        channel: string;
        history?: number;
        backoff?: Backoff;
        renews?: boolean;
    });
    /** @type {Effect[]} */
    effects: Effect[];
    /** @type {StateMessage["phase"]} */
    phase: StateMessage["phase"];
    get connected(): boolean;
    get dueMs(): number;
    /** Open a socket; one that is there is given up by the caller. @param {number} nowMs */
    start(nowMs: number): void;
    /** The credential is there, and the socket is being opened. @param {number} nowMs */
    opening(nowMs: number): void;
    /** Ends for good; requests without an answer fail. */
    stop(): void;
    /** Another user: what was seen so far says nothing about their streams. */
    forget(): void;
    /** What the page has read already. @param {[string, import("./messages.js").Position][]} since */
    begin(since: [string, import("./messages.js").Position][]): void;
    /** Where the streams stand, as `begin` takes it. */
    get positions(): {
        [name: string]: import("./messages.js").Position;
    };
    /** @param {string[]} symbols @param {number} nowMs */
    subscribe(symbols: string[], nowMs: number): number;
    /** @param {string[]} symbols @param {number} nowMs */
    unsubscribe(symbols: string[], nowMs: number): number;
    /** Any other request, which fails when the socket is lost before the answer; returns its id.
     * @param {Outgoing} message @param {number} nowMs @param {import("./requests.js").About} [about] */
    request(message: Outgoing, nowMs: number, about?: import("./requests.js").About): number;
    /** Something has happened to the network: does the connection still live? @param {number} nowMs */
    probe(nowMs: number): void;
    /** @param {number} nowMs */
    tick(nowMs: number): void;
    /** Throws for what is not of the protocol. @param {any} message @param {number} nowMs */
    received(message: any, nowMs: number): void;
    /** The socket is gone. @param {{ code: number, reason: string }} close @param {number} nowMs */
    dropped({ code, reason }: {
        code: number;
        reason: string;
    }, nowMs: number): void;
    #private;
}
export type Outgoing = import("./messages.js").Outgoing;
export type StateMessage = import("./messages.js").StateMessage;
export type Request = import("./requests.js").Request;
export type Settled = {
    do: "settle";
    id: number;
    answer?: any;
    error?: AraError;
};
export type Effect = {
    do: "open";
} | {
    do: "abandon";
} | {
    do: "wait";
    ms: number;
} | {
    do: "send";
    message: object;
} | {
    do: "emit";
    detail: any;
} | Settled;
import { Backoff } from "./backoff.js";
import { AraError } from "./errors.js";
