// What the two small drawings show, and their geometry. Pure.

/**
 * Trades, oldest first, after an update's `data`: one more, or without one that did not happen, or
 * with its right price.
 */
export function withTrade(trades, { price, trade_id: id, corrects }) {
  if (!corrects) return Number.isFinite(price) ? [...trades, { id, price }] : trades;
  const right = corrects.price;
  return trades.flatMap((trade) => {
    if (trade.id === undefined || trade.id !== corrects.trade_id) return [trade];
    return Number.isFinite(right) ? [{ ...trade, price: right }] : [];
  });
}

/** The `d` of a line through `values` in a box of `width` by `height`; "" for less than two. */
export function linePath(values, width, height) {
  if (values.length < 2) return "";
  const scale = scaleOf(values);
  const step = width / (values.length - 1);
  return values
    .map((value, index) => {
      const up = scale(value);
      return `${index === 0 ? "M" : "L"}${round(index * step)} ${round(height * (1 - up))}`;
    })
    .join("");
}

/** The same line, closed along the bottom. */
export function areaPath(values, width, height) {
  const line = linePath(values, width, height);
  return line && `${line}L${width} ${height}L0 ${height}Z`;
}

/**
 * Places in percent of a bar that shows all the values it is given, with some room at both ends.
 * `values`: { name: number | undefined }; what is not a number gets no place.
 */
export function placesOnBar(values) {
  const known = Object.entries(values).filter(([, value]) => Number.isFinite(value));
  const scale = scaleOf(known.map(([, value]) => value));
  const place = (value) => round(6 + 88 * scale(value));
  return Object.fromEntries(known.map(([name, value]) => [name, place(value)]));
}

/** From 0 at the lowest to 1 at the highest of some values; 0.5 where all are the same. */
function scaleOf(values) {
  // Halves: the difference of two finite numbers may be infinite.
  const low = Math.min(...values) / 2;
  const span = Math.max(...values) / 2 - low;
  return (value) => (span === 0 ? 0.5 : (value / 2 - low) / span);
}

function round(value) {
  return Math.round(value * 100) / 100;
}
