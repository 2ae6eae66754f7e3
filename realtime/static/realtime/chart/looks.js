// Options of the library for charts: how a chart behaves, and its colours.

import * as format from "../format.js";

export function behaviour() {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  return {
    autoSize: true,
    // Its logo would need a style sheet and markup that the page does not allow: the text below the
    // chart has the attribution.
    layout: { attributionLogo: false },
    handleScroll: { vertTouchDrag: false },
    kineticScroll: { touch: !still, mouse: false },
    crosshair: { mode: 0 },
    rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.18 } },
  };
}

export function timesIn(clock) {
  return {
    localization: { timeFormatter: (time) => clock.text(time) },
    timeScale: {
      // A new candle takes the place of a time that predictions have pointed to.
      allowShiftVisibleRangeOnWhitespaceReplacement: true,
      timeVisible: !clock.daily,
      secondsVisible: false,
      tickMarkFormatter: (time, kind) => clock.tick(time, kind),
    },
  };
}

export function coloursOf({ text, muted, line, surface, font }, { ColorType }) {
  const background = { type: ColorType.Solid, color: surface };
  return {
    layout: { background, textColor: text, fontFamily: font, panes: { separatorColor: line } },
    grid: { vertLines: { color: line }, horzLines: { color: line } },
    rightPriceScale: { borderColor: line },
    timeScale: { borderColor: line },
    crosshair: { vertLine: crosshairLine(muted), horzLine: crosshairLine(muted) },
  };
}

function crosshairLine(color) {
  return { color, labelBackgroundColor: color };
}

/** Rising candles are hollow and falling ones filled: the colour does not say it alone. */
export function lookOf(kind, { accent, rise, fall, surface, muted }) {
  if (kind === "line") return { color: accent, lineWidth: 2 };
  return {
    priceLineColor: muted,
    upColor: surface, borderUpColor: rise, wickUpColor: rise,
    downColor: fall, borderDownColor: fall, wickDownColor: fall,
  };
}

/** Steps of the scale as fine as prices of this size need. */
export function priceFormatOf(last) {
  const size = last && last.close < 10 ? Math.floor(Math.log10(last.close)) - 5 : -2;
  return { type: "custom", minMove: 10 ** Math.max(-12, size), formatter: format.price };
}

export function scoreLine() {
  return {
    title: "in band",
    lineWidth: 2,
    priceLineVisible: false,
    crosshairMarkerVisible: false,
    priceFormat: { type: "custom", minMove: 1, formatter: (value) => `${Math.round(value)} %` },
    autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 100 } }),
  };
}

const NAMES = {
  text: "--text", muted: "--muted", line: "--line", surface: "--surface", accent: "--accent",
  asked: "--critical", rise: "--rise", fall: "--fall", riseSoft: "--rise-soft", fallSoft: "--fall-soft",
  held: "--rise", missed: "--fall", fired: "--warn",
};

/** The colours and the font of the style sheet, as they are for this element. */
export function coloursFor(element) {
  const style = getComputedStyle(element);
  const entries = Object.entries(NAMES);
  const colours = entries.map(([name, from]) => [name, style.getPropertyValue(from).trim()]);
  return { ...Object.fromEntries(colours), font: style.fontFamily };
}
