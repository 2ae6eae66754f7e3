// The score of a model, and the outcome of a prediction, as text. Pure.

import * as format from "./format.js";

/** `91 % in band (90 % promised)`: the share of prices within the bounds. */
export function held({ within_bounds: share, nominal }) {
  if (!Number.isFinite(share)) return "";
  const promised = Number.isFinite(nominal) ? ` (${format.share(nominal)} promised)` : "";
  return `${format.share(share)} in band${promised}`;
}

/** `direction right 56 % · last 200`. */
export function lately({ directional_accuracy: direction, outcomes }) {
  const known = Number.isFinite(direction) ? `direction right ${format.share(direction)}` : "";
  return [known, `last ${outcomes}`].filter(Boolean).join(" · ");
}

/** `✓ became 150.20, predicted 149.80`: the mark says the same as the colour. */
export function outcomeText({ actual_price: actual, predicted_price: predicted, within_bounds }) {
  const mark = within_bounds ? "✓" : "✗";
  return `${mark} became ${format.price(actual)}, predicted ${format.price(predicted)}`;
}

/** `149.80 (148.10 to 151.50), 5 steps ahead`. */
export function answerText({ predicted_price: price, lower_bound: lower, upper_bound: upper, horizon }) {
  const bounded = Number.isFinite(lower) && Number.isFinite(upper);
  const band = bounded ? ` (${format.price(lower)} to ${format.price(upper)})` : "";
  return [`${format.price(price)}${band}`, format.horizon(horizon)].filter(Boolean).join(", ");
}
