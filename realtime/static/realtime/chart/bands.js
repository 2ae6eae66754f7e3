// What predictions look like: a fan ahead of now, and at each bar in the past what was predicted
// for it. A primitive of the library for charts, drawn below the candles.

export class Bands {
  #view = { zOrder: () => "bottom", renderer: () => this };
  #chart = null;
  #series = null;
  #update = () => {};
  #fans = []; // { forecast: placed, color }
  #outcomes = []; // placed forecasts
  #colors = {};

  /** Replaces what is shown: `fans` each with its colour, `colors` { held, missed }. */
  show(fans, outcomes, colors) {
    this.#fans = fans;
    this.#outcomes = outcomes;
    this.#colors = colors;
    this.#update();
  }

  // As the library calls it ---------------------------------------------------------------------

  attached({ chart, series, requestUpdate }) {
    this.#chart = chart;
    this.#series = series;
    this.#update = requestUpdate;
  }

  detached() {
    this.#update = () => {};
  }

  paneViews() {
    return [this.#view];
  }

  /** What is on the screen has to fit into the scale of prices. */
  autoscaleInfo(first, last) {
    const scale = this.#chart.timeScale();
    const isSeen = ({ to }) => {
      const index = scale.timeToIndex(to, true);
      return index !== null && index >= first - 1 && index <= last + 1;
    };
    const seen = [...this.#outcomes, ...this.#fans.map(({ forecast }) => forecast)].filter(isSeen);
    if (seen.length === 0) return null;
    const minValue = Math.min(...seen.map(({ lower, price }) => lower ?? price));
    const maxValue = Math.max(...seen.map(({ upper, price }) => upper ?? price));
    return { priceRange: { minValue, maxValue } };
  }

  draw(target) {
    target.useMediaCoordinateSpace(({ context }) => {
      context.lineJoin = "round";
      for (const outcome of this.#outcomes) this.#drawOutcome(context, outcome);
      for (const { forecast, color } of this.#fans) this.#drawFan(context, forecast, color);
    });
  }

  // Drawing -------------------------------------------------------------------------------------

  #x(time) {
    return this.#chart.timeScale().timeToCoordinate(time);
  }

  #y(price) {
    return this.#series.priceToCoordinate(price);
  }

  #drawOutcome(context, { to, price, lower, upper, within }) {
    const [x, y] = [this.#x(to), this.#y(price)];
    if (x === null || y === null) return;
    context.strokeStyle = context.fillStyle = within === false ? this.#colors.missed : this.#colors.held;
    context.globalAlpha = 0.45;
    context.lineWidth = 1.5;
    if (lower !== null) line(context, x, this.#y(lower), x, this.#y(upper));
    context.globalAlpha = 0.95;
    if (within === false) cross(context, x, y);
    else dot(context, x, y, 2.5);
  }

  #drawFan(context, { from, to, last, price, lower, upper }, color) {
    const [begin, end, y] = [this.#x(from), this.#x(to), this.#y(price)];
    if (begin === null || end === null || y === null) return;
    const now = this.#y(last ?? price);
    context.strokeStyle = context.fillStyle = color;
    if (lower !== null) this.#drawBand(context, [begin, now], end, this.#y(lower), this.#y(upper));
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.setLineDash([5, 4]);
    line(context, begin, now, end, y);
    context.setLineDash([]);
    dot(context, end, y, 4);
  }

  #drawBand(context, [x, y], end, lower, upper) {
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(end, upper);
    context.lineTo(end, lower);
    context.closePath();
    context.globalAlpha = 0.18;
    context.fill();
    context.globalAlpha = 0.8;
    context.lineWidth = 1;
    context.stroke();
  }
}

function line(context, x, y, endX, endY) {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(endX, endY);
  context.stroke();
}

function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

/** A miss is a cross, so that the colour does not say it alone. */
function cross(context, x, y) {
  line(context, x - 3, y - 3, x + 3, y + 3);
  line(context, x - 3, y + 3, x + 3, y - 3);
}
