// Geometry of the two small drawings. Pure: numbers in, coordinates out.

/** The `d` of a line through `values` in a box of `width` by `height`; "" for less than two. */
export function linePath(values, width, height) {
  if (values.length < 2) return "";
  const low = Math.min(...values);
  const span = Math.max(...values) - low;
  const step = width / (values.length - 1);
  return values
    .map((value, index) => {
      const up = span === 0 ? 0.5 : (value - low) / span;
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
 * `values`: { name: number | undefined }; what is no number gets no place.
 */
export function placesOnBar(values) {
  const known = Object.entries(values).filter(([, value]) => Number.isFinite(value));
  const numbers = known.map(([, value]) => value);
  const low = Math.min(...numbers);
  const span = Math.max(...numbers) - low;
  const place = (value) => (span === 0 ? 50 : round(6 + (88 * (value - low)) / span));
  return Object.fromEntries(known.map(([name, value]) => [name, place(value)]));
}

function round(value) {
  return Math.round(value * 100) / 100;
}
