// The dry run of a rule that need not be saved: how often it would have fired, and when.

import { make } from "./dom.js";
import * as format from "./format.js";

const moments = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export class RuleTrial {
  #element;
  #ask;
  #failed;
  #run = 0;

  /** `ask(past)` resolves with a report, see POST alert-rules/dry-run. Its firings are told to the
   * document as `rule-firings` as well, an event for each symbol; without a symbol, none of them counts any
   * longer. `failed(error)`: it was refused. */
  constructor(element, { ask, failed }) {
    this.#element = element;
    this.#ask = ask;
    this.#failed = failed;
    this.#part("[data-try]").addEventListener("click", () => this.#try());
  }

  /** Forget the last report: it is about another rule. */
  clear() {
    this.#run += 1;
    this.#part("[data-summary]").textContent = "";
    this.#showFirings([]);
    tell(null, []);
  }

  async #try() {
    this.clear();
    const run = this.#run;
    const button = this.#part("[data-try]");
    button.disabled = true;
    this.#part("[data-summary]").textContent = "Trying …";
    try {
      const report = await this.#ask(this.#part("[data-past]").value);
      if (run === this.#run) this.#show(report);
    } catch (error) {
      if (run === this.#run) this.#refused(error);
    }
    button.disabled = false;
  }

  #show(report) {
    this.#part("[data-summary]").textContent = summaryOf(report);
    this.#showFirings(report.times);
    for (const [symbol, firings] of bySymbol(report.times)) tell(symbol, firings);
  }

  #showFirings(times) {
    const rows = times.toReversed().map(({ timestamp, symbol, price, message }) => {
      const cells = [moment(timestamp), symbol, format.price(price), message];
      return make("tr", {}, ...cells.map((text) => make("td", { text })));
    });
    this.#part("tbody").replaceChildren(...rows);
    this.#part("[data-firings]").hidden = rows.length === 0;
  }

  #refused(error) {
    this.#part("[data-summary]").textContent = "";
    this.#failed(error);
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }
}

/** A report in a sentence. */
export function summaryOf({ updates, begin, end, fired, fired_without_cooldown: all, times }) {
  if (updates === 0) return "There is no such past of these symbols: try another one.";
  const without = all === fired ? "" : ` (${counted(all)} without the pause between firings)`;
  const newest = times.length < fired ? `, the newest ${times.length} of them below` : "";
  const span = `from ${moment(begin)} to ${moment(end)}`;
  const much = `${updates.toLocaleString("en")} ${updates === 1 ? "update" : "updates"}`;
  const often = fired === 0 ? "never have fired" : `have fired ${counted(fired)}`;
  return `It would ${often}${without}${newest}, in ${much} ${span}.`;
}

function tell(symbol, firings) {
  document.dispatchEvent(new CustomEvent("rule-firings", { detail: { symbol, firings } }));
}

/** Firings by symbol: [[symbol, firings], …]. */
export function bySymbol(times) {
  const found = new Map();
  for (const firing of times) {
    found.set(firing.symbol, [...(found.get(firing.symbol) ?? []), firing]);
  }
  return [...found];
}

function counted(times) {
  return [, "once", "twice"][times] ?? `${times.toLocaleString("en")} times`;
}

function moment(text) {
  return moments.format(new Date(text));
}
