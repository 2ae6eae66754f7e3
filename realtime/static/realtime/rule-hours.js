// The hours in which a rule may fire.

import { make } from "./dom.js";
import { DAYS, withDay } from "./rule-values.js";

const OFFICE = { start: "09:30", end: "16:00" };
const LABELS = { mon: "Mon", tue: "Tue", wed: "Wed", thu: "Thu", fri: "Fri", sat: "Sat", sun: "Sun" };

export class RuleHours {
  #element;
  #set;
  #hours;

  /** `set(hours)` is told `active_hours` after an edit; undefined: always. */
  constructor(element, set) {
    this.#element = element;
    this.#set = set;
    const zones = Intl.supportedValuesOf?.("timeZone") ?? [];
    element.querySelector("datalist").append(...zones.map((value) => make("option", { value })));
    element.querySelector("[data-days]").append(...DAYS.map((day) => this.#day(day)));
    element.querySelector("[data-hours]").addEventListener("change", ({ target }) => {
      this.show(target.checked ? { ...OFFICE, timezone: ownZone() } : undefined);
      this.#set(this.#hours);
    });
    for (const input of this.#inputs()) {
      input.addEventListener("input", () => {
        this.#change({ ...this.#hours, [input.dataset.name]: input.value });
      });
    }
  }

  show(hours) {
    this.#hours = hours ?? undefined;
    this.#element.querySelector("[data-hours]").checked = this.#hours !== undefined;
    this.#element.querySelector("[data-hours-inputs]").hidden = this.#hours === undefined;
    const { days = DAYS, ...shown } = { timezone: "UTC", ...this.#hours };
    for (const input of this.#inputs()) input.value = shown[input.dataset.name] ?? "";
    for (const box of this.#element.querySelectorAll("[data-days] input")) {
      box.checked = days.includes(box.value);
    }
  }

  #inputs() {
    return this.#element.querySelectorAll("[data-hours-inputs] [data-name]");
  }

  #day(value) {
    const box = make("input", {
      type: "checkbox",
      value,
      on: { change: () => this.#change(withDay(this.#hours, value, box.checked)) },
    });
    return make("label", { class: "rule-tick" }, box, LABELS[value]);
  }

  #change(hours) {
    this.#hours = hours;
    this.#set(hours);
  }
}

function ownZone() {
  return new Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
}
