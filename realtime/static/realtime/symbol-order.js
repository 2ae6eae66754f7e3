// The order of the symbols on the page. Pure.

const VALUES = {
  symbol: (state) => state.symbol,
  price: (state) => state.price,
  change: (state) => state.change,
  time: (state) => Date.parse(state.quoteTime),
};

/** What `?sort=` may be: "" for the order in which symbols were added, `-` for the largest first. */
export const ORDERS = ["", ...Object.keys(VALUES).flatMap((key) => [key, `-${key}`])];

/** The states in an order; those without a value last, and equal ones as they were added. */
export function sorted(states, order) {
  if (order === "") return states;
  const [key, sign] = order.startsWith("-") ? [order.slice(1), -1] : [order, 1];
  const valued = states.map((state) => [state, VALUES[key](state)]);
  const known = valued.filter(([, value]) => isKnown(value));
  const unknown = valued.filter(([, value]) => !isKnown(value));
  known.sort(([, a], [, b]) => sign * (Number(a > b) - Number(a < b)));
  return [...known, ...unknown].map(([state]) => state);
}

function isKnown(value) {
  return typeof value === "string" || Number.isFinite(value);
}
