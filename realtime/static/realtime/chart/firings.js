// Where a chart marks that a rule would have fired. Pure.

import { INTERVALS, secondsOf } from "./candles.js";

/** `firings`: { timestamp }; one mark for each bar that has some: { time, count }, oldest first. */
export function firingsOn(firings, { all, interval }) {
  const counts = new Map();
  for (const { timestamp } of firings) {
    const at = secondsOf(timestamp);
    const bar = all.findLast(({ time }) => time <= at);
    if (bar === undefined || at >= bar.time + INTERVALS[interval]) continue;
    counts.set(bar.time, (counts.get(bar.time) ?? 0) + 1);
  }
  return [...counts].sort(([one], [other]) => one - other).map(([time, count]) => ({ time, count }));
}
