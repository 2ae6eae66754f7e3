// How the symbols are shown: as cards or as a table, and in which order. Both choices stay.

import { PageChoice } from "./page-choice.js";
import { ORDERS } from "./symbol-order.js";

export class ListControls {
  #element;
  #view = new PageChoice("view", ["cards", "table"]);
  #order = new PageChoice("sort", ORDERS);
  #onView;
  #onOrder;
  view = this.#view.value;
  /** One of ORDERS. */
  order = this.#order.value;

  /** `element`: the section with the controls, the cards and the table. */
  constructor(element, { onView, onOrder }) {
    this.#element = element;
    this.#onView = onView;
    this.#onOrder = onOrder;
    element.addEventListener("change", ({ target }) => {
      if (target.name === "view") this.#choose(target.value);
      if (target.name === "order") this.#sortBy(target.value === "" ? "" : firstOrder(target.value));
    });
    this.#part("[data-direction]").addEventListener("click", () => this.#sortBy(reversed(this.order)));
    for (const button of element.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.#sortByColumn(button.dataset.sort));
    }
    this.#show();
  }

  #choose(view) {
    this.#view.value = this.view = view;
    this.#show();
    this.#onView();
  }

  #sortByColumn(key) {
    this.#sortBy(keyOf(this.order) === key ? reversed(this.order) : firstOrder(key));
  }

  #sortBy(order) {
    this.#order.value = this.order = order;
    this.#show();
    this.#onOrder();
  }

  #show() {
    this.#element.dataset.view = this.view;
    this.#part(`[name=view][value="${this.view}"]`).checked = true;
    this.#part("[name=order]").value = keyOf(this.order);
    const direction = isDescending(this.order) ? "descending" : "ascending";
    const button = this.#part("[data-direction]");
    button.hidden = this.order === "";
    button.dataset.direction = direction;
    button.setAttribute("aria-label", `Reverse the order, which is ${direction}`);
    for (const column of this.#element.querySelectorAll("[data-sort]")) {
      const chosen = column.dataset.sort === keyOf(this.order);
      column.closest("th").setAttribute("aria-sort", chosen ? direction : "none");
    }
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }
}

/** Names begin with A; of numbers and times the largest is of interest. */
function firstOrder(key) {
  return key === "symbol" ? key : `-${key}`;
}

function isDescending(order) {
  return order.startsWith("-");
}

function keyOf(order) {
  return isDescending(order) ? order.slice(1) : order;
}

function reversed(order) {
  return isDescending(order) ? keyOf(order) : `-${order}`;
}
