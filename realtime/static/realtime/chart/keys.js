// The chart with the keyboard: bar by bar, and closer or further away.

const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
const FACTORS = { "+": 0.8, "=": 0.8, "-": 1.25 };

/** `read` is read out: what the keys have made `legend` say, not each price that moves it later. */
export function listenToKeys(plot, { legend, read }, view) {
  const leave = () => {
    read.textContent = "";
    view()?.leave();
  };
  plot.addEventListener("keydown", (event) => {
    if (!view() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in STEPS) {
      view().step(STEPS[event.key]);
      read.textContent = legend.textContent;
    } else if (event.key in FACTORS) view().zoom(FACTORS[event.key]);
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
  });
  plot.addEventListener("blur", leave);
}
