// The detail of one symbol, opened from its card.

export class ChartPanel {
  #element;
  symbol = null; // the one on the screen

  /** `page`: see dashboard.js. */
  constructor(element, page) {
    this.#element = element;
    this.page = page;
    element.querySelector("[data-close]").addEventListener("click", () => this.close());
  }

  open(symbol) {
    this.symbol = symbol;
    this.#element.hidden = false;
    const heading = this.#element.querySelector("h2");
    heading.textContent = symbol;
    heading.focus();
    this.#element.scrollIntoView({ block: "nearest" });
  }

  close() {
    const { symbol } = this;
    this.symbol = null;
    this.#element.hidden = true;
    document.querySelector(`[data-symbol="${CSS.escape(symbol)}"] [data-do="chart"]`)?.focus();
  }

  /** Another user looks at this page: what was read for the last one is not shown to them. */
  userChanged() {
    if (this.symbol !== null) this.open(this.symbol);
  }
}
