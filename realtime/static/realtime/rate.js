/** Events per second over a sliding window. Pure: the clock comes in as an argument. */
export class Rate {
  #buckets = new Map(); // whole second -> count
  #first = null;

  constructor(windowSeconds = 5) {
    this.windowSeconds = windowSeconds;
  }

  count(nowMs, events = 1) {
    const second = Math.floor(nowMs / 1000);
    this.#first ??= second;
    this.#buckets.set(second, (this.#buckets.get(second) ?? 0) + events);
  }

  /** Of the last whole seconds; the current one is not over and would count too little. */
  perSecond(nowMs) {
    const current = Math.floor(nowMs / 1000);
    let sum = 0;
    for (const [second, count] of this.#buckets) {
      if (second < current - this.windowSeconds) this.#buckets.delete(second);
      else if (second < current) sum += count;
    }
    const seconds = Math.min(this.windowSeconds, current - (this.#first ?? current));
    return seconds > 0 ? sum / seconds : 0;
  }
}
