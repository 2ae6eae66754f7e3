// The detail of one symbol, opened from its card: its chart, its predictions, and the choices.

import { Drawing } from "./chart/drawing.js";
import { ChartFeed } from "./chart/feed.js";
import { listenToKeys } from "./chart/keys.js";
import { Words } from "./chart/words.js";

const DEFAULT = "1m"; // where prices are not those of days

export class ChartPanel {
  symbol = null; // the one on the screen
  #element;
  #words;
  #feed;
  #drawing;
  #chosen = null; // the interval
  #asked = null; // the interval that is read

  /** `page`: see dashboard.js; `requests`: see prediction-requests.js. */
  constructor(element, { requests, ...page }) {
    this.#element = element;
    this.#words = new Words(element);
    this.#feed = new ChartFeed(page, {
      loaded: (problem) => this.#loaded(problem),
      changed: (what) => this.#drawing.draw(what),
      quoted: () => this.#follow(),
      failed: (message) => this.#drawing.fail(message),
    });
    this.#drawing = new Drawing(this.#feed, this.#words);
    this.#listenToChoices();
    this.#listenToRequests(requests);
    const [plot, legend, read] = ["plot", "legend", "read"].map((name) => this.#words.part(name));
    listenToKeys(plot, { legend, read }, () => this.#drawing.view);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#repaint());
    document.addEventListener("rule-firings", ({ detail }) => this.#drawing.mark(detail));
  }

  open(symbol) {
    this.#show(symbol);
    this.#words.part("title").focus();
    this.#element.scrollIntoView({ block: "nearest" });
    this.#remember();
  }

  /** The one that the address of the page names, if it is a symbol that the page has. */
  openNamed(isHere) {
    const symbol = new URL(location.href).searchParams.get("chart");
    if (symbol !== null && isHere(symbol)) this.#show(symbol);
  }

  close() {
    const { symbol } = this;
    this.symbol = null;
    this.#feed.close();
    this.#element.hidden = true;
    this.#remember();
    document.querySelector(`[data-symbol="${CSS.escape(symbol)}"] [data-do="chart"]`)?.focus();
  }

  /** Another user looks at this page: what was read for the last one is not shown to them. */
  userChanged() {
    this.#feed.forget();
    this.#drawing.forget();
    if (this.symbol !== null) this.#read();
  }

  // Reading -------------------------------------------------------------------------------------

  #show(symbol) {
    if (this.#feed.isDaily(symbol) !== false) this.#chosen = null;
    this.symbol = symbol;
    this.#element.hidden = false;
    this.#words.part("title").textContent = symbol;
    this.#words.part("answer").textContent = "";
    this.#read();
  }

  get #wanted() {
    return this.#chosen ?? (this.#feed.isDaily(this.symbol) === false ? DEFAULT : "1d");
  }

  async #read() {
    this.#asked = this.#wanted;
    this.#element.querySelector(`[name=chart-interval][value="${this.#asked}"]`).checked = true;
    this.#drawing.clear();
    try {
      await this.#drawing.prepare();
    } catch {
      this.#drawing.fail("The chart cannot be loaded. Is the server away?");
      return;
    }
    if (this.symbol !== null) this.#feed.open(this.symbol, this.#wanted);
  }

  /** The first price tells whether the bars of this symbol are those of days. */
  #follow() {
    if (this.#asked !== this.#wanted) this.#read();
  }

  #loaded(problem) {
    this.#words.problem = problem;
    this.#drawing.show(this.#kind);
  }

  #repaint() {
    if (["live", "empty"].includes(this.#element.dataset.state)) this.#drawing.show(this.#kind);
  }

  // Choosing ------------------------------------------------------------------------------------

  get #kind() {
    return this.#element.querySelector("[name=chart-kind]:checked").value;
  }

  #listenToChoices() {
    this.#element.querySelector("[data-close]").addEventListener("click", () => this.close());
    this.#element.addEventListener("change", ({ target }) => {
      if (target.name === "chart-kind") this.#repaint();
      if (target.name !== "chart-interval") return;
      this.#chosen = target.value;
      this.#read();
    });
  }

  #listenToRequests(requests) {
    const form = this.#words.part("request");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const horizon = form.elements.horizon.valueAsNumber;
      requests.request(this.symbol, (...how) => this.#showRequest(...how), horizon);
    });
    this.#words.part("dismiss").addEventListener("click", () => {
      this.#feed.dismissRequested();
      form.elements.horizon.focus();
    });
  }

  #showRequest(message, { busy = false, failed = false } = {}) {
    this.#words.part("answer").textContent = message;
    this.#words.part("answer").classList.toggle("problem", failed);
    this.#words.part("request").querySelector("button").disabled = busy;
  }

  /** A link to this page opens the same chart. */
  #remember() {
    const url = new URL(location.href);
    if (this.symbol === null) url.searchParams.delete("chart");
    else url.searchParams.set("chart", this.symbol);
    history.replaceState(history.state, "", url);
  }
}
