export class Liveness {
    /** @param {number} nowMs */
    constructor(nowMs: number);
    /** When to look again. */
    get dueMs(): number;
    /** @param {number} nowMs */
    heard(nowMs: number): void;
    /** Ask now, whatever the time; true unless that has been done. @param {number} nowMs */
    ask(nowMs: number): boolean;
    /** @param {number} nowMs @returns {"" | "ask" | "dead"} */
    look(nowMs: number): "" | "ask" | "dead";
    #private;
}
