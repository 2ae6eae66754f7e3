/**
 * `epoch` is "" before a stream's first update and null if it was never told; `offset` is null where
 * whatever comes next is taken; `past`: the position is before the subscription, for the sake of its
 * history.
 * @typedef {{ epoch: string | null, offset: number | null, replayUpTo?: number, recovering?: boolean, past?: boolean, ahead?: boolean }} Place
 * @typedef {{ from_offset: number, to_offset: number, epoch: string }} Lost
 */
/**
 * The position in every stream of a connection.
 *
 * A stream that is behind is *recovering* until the answer to its `since` arrives. Meanwhile only
 * the next update in order is taken: the others come again in the replay.
 */
export class Positions {
    /**
     * Take over `streams` of `connected` or `subscribed`. Returns the names to ask `since` for, and
     * what cannot be had any more: `lost`, as `gap` messages.
     * `history`: how many earlier updates to ask for in a stream that is new here.
     * @param {import("./messages.js").Streams} streams
     */
    join(streams: import("./messages.js").Streams, history?: number): {
        behind: string[];
        lost: import("./messages.js").Gap[];
    };
    /** Where a stream is to begin, unless it stands somewhere already.
     * @param {string} name @param {import("./messages.js").Position} position */
    begin(name: string, { epoch, offset }: import("./messages.js").Position): void;
    /** Go on from here, whatever was before: the server gave up on a range, or the stream is new.
     * @param {string} name @param {string | null} epoch @param {number | null} offset */
    start(name: string, epoch: string | null, offset: number | null): Place;
    /**
     * Judge an update, which may stand for older ones that were `folded` into it, or `filtered` out
     * before it: `apply`; `replay`: apply, it is from the past; `drop` (seen before, or coming again
     * in the replay); or `gap`: drop it, and ask `since` for the stream. `epoch` comes with the first
     * update of a stream that is new below the wildcard.
     * @param {string} name
     * @param {{ offset?: number, epoch?: string | null, folded?: number, filtered?: number, snapshot?: boolean }} update
     * @returns {"apply" | "replay" | "drop" | "gap"}
     */
    take(name: string, { offset, epoch, folded, filtered, snapshot }: {
        offset?: number;
        epoch?: string | null;
        folded?: number;
        filtered?: number;
        snapshot?: boolean;
    }): "apply" | "replay" | "drop" | "gap";
    /**
     * Names whose position is not what `ping.heads` says. A head below ours may only be older than
     * the last update, so it has to be seen twice.
     * @param {{ [name: string]: number }} heads
     */
    compare(heads: {
        [name: string]: number;
    }): string[];
    /** `since` was refused: go on with whatever comes next. @param {string[]} names */
    abandon(names: string[]): void;
    /** @param {string[]} names */
    forget(names: string[]): void;
    /** `since` for a `subscribe`; streams that cannot be resumed are left out. "*" is all of them.
     * @param {string[]} names @returns {{ [name: string]: import("./messages.js").Position }} */
    since(names: string[]): {
        [name: string]: import("./messages.js").Position;
    };
    #private;
}
/**
 * `epoch` is "" before a stream's first update and null if it was never told; `offset` is null where
 * whatever comes next is taken; `past`: the position is before the subscription, for the sake of its
 * history.
 */
export type Place = {
    epoch: string | null;
    offset: number | null;
    replayUpTo?: number;
    recovering?: boolean;
    past?: boolean;
    ahead?: boolean;
};
/**
 * `epoch` is "" before a stream's first update and null if it was never told; `offset` is null where
 * whatever comes next is taken; `past`: the position is before the subscription, for the sake of its
 * history.
 */
export type Lost = {
    from_offset: number;
    to_offset: number;
    epoch: string;
};
