// The chart with the keyboard: bar by bar, and closer or further away.

const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
const FACTORS = { "+": 0.8, "=": 0.8, "-": 1.25 };

/** `legend` is read out while the keys choose what it says. */
export function listenToKeys(plot, legend, view) {
  const leave = () => {
    legend.setAttribute("aria-live", "off");
    view()?.leave();
  };
  plot.addEventListener("keydown", (event) => {
    if (!view() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in STEPS) {
      legend.setAttribute("aria-live", "polite");
      view().step(STEPS[event.key]);
    } else if (event.key in FACTORS) view().zoom(FACTORS[event.key]);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
  });
  plot.addEventListener("blur", leave);
}
