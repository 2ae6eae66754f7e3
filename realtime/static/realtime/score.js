// The score of a model, and the outcome of a prediction, as text. Pure.

import * as format from "./format.js";

/** `91 % held (90 % promised)`: the share of prices within the bounds. */
export function held({ within_bounds: share, nominal }) {
  if (!Number.isFinite(share)) return "";
  const promised = Number.isFinite(nominal) ? ` (${format.share(nominal)} promised)` : "";
  return `${format.share(share)} held${promised}`;
}

/** `direction 56 % · last 200`. */
export function lately({ directional_accuracy: direction, outcomes }) {
  const known = Number.isFinite(direction) ? `direction ${format.share(direction)}` : "";
  return [known, `last ${outcomes}`].filter(Boolean).join(" · ");
}

/** `✓ 150.20 came, 149.80 predicted`: the mark says the same as the colour. */
export function outcomeText({ actual_price: actual, predicted_price: predicted, within_bounds }) {
  const mark = within_bounds ? "✓" : "✗";
  return `${mark} ${format.price(actual)} came, ${format.price(predicted)} predicted`;
}
