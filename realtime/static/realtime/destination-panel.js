// Where alerts of rules are sent to, of the user: listed, added, tested, paused and removed.

import { fromTemplate } from "./dom.js";
import * as format from "./format.js";
import { readDestinations, stateOf } from "./rule-destinations.js";

// What came of a test is read again after so long, in milliseconds.
const TESTED_AFTER_MS = [1_000, 3_000, 10_000];

export class DestinationPanel {
  #element;
  #page;
  #found = [];
  #loads = 0;

  /** `page`: see dashboard.js. */
  constructor(element, page) {
    this.#element = element;
    this.#page = page;
    this.#part("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add();
    });
    page.alerts.addEventListener("connected", ({ detail }) => this.#load(detail.authenticated));
  }

  userChanged() {
    this.#load(false);
  }

  /** Hidden without a user. The panel of rules says what is wrong with a credential. */
  async #load(isUser) {
    const load = ++this.#loads;
    const found = isUser ? await readDestinations(this.#page).catch(() => null) : null;
    if (load !== this.#loads) return;
    this.#element.hidden = found === null;
    this.#show(found ?? []);
  }

  #show(found) {
    this.#found = found;
    const items = found.map((destination) => this.#item(destination));
    this.#part("[data-destination-list]").replaceChildren(...items);
  }

  #item(destination) {
    const name = destination.description || destination.address;
    const item = fromTemplate("destination");
    item.dataset.destination = destination.id;
    item.querySelector(".rule-name").textContent = name;
    item.querySelector("[data-facts]").textContent = factsOf(destination);
    item.querySelector('[data-do="switch"]').textContent = destination.enabled ? "Pause" : "Resume";
    const actions = {
      test: () => this.#test(destination),
      switch: () => this.#switch(destination),
      remove: (button) => this.#remove(destination, name, button),
    };
    for (const button of item.querySelectorAll("[data-do]")) {
      button.setAttribute("aria-label", `${button.textContent}: ${name}`);
      button.addEventListener("click", () => actions[button.dataset.do](button));
    }
    return item;
  }

  #add() {
    const address = this.#part("#destination-address").value.trim();
    const description = this.#part("#destination-name").value.trim();
    return this.#act(async () => {
      const added = await this.#page.rest.post("destinations", { address, description });
      this.#part("form").reset();
      this.#show([added, ...this.#found]);
      const next = added.confirmed ? "" : " A mail asks its owner to confirm.";
      this.#page.announce(`${added.address} is added.${next}`);
    });
  }

  #test(destination) {
    return this.#act(async () => {
      await this.#page.rest.post(`destinations/${destination.id}/test`);
      this.#page.announce("A test is on its way.");
      for (const delay of TESTED_AFTER_MS) setTimeout(() => this.#readAgain(destination.id), delay);
    });
  }

  /** Only its text changes: the focus stays where it is. */
  async #readAgain(id) {
    const read = await this.#page.rest.get(`destinations/${id}`).catch(() => null);
    const facts = this.#part(`[data-destination="${id}"] [data-facts]`);
    if (read !== null && facts !== null) facts.textContent = factsOf(read);
  }

  #switch({ id, enabled }) {
    return this.#act(async () => {
      const changed = await this.#page.rest.patch(`destinations/${id}`, { enabled: !enabled });
      this.#show(this.#found.map((each) => (each.id === id ? changed : each)));
      this.#part(`[data-destination="${id}"] [data-do="switch"]`).focus();
    });
  }

  async #remove({ id }, name, button) {
    if (button.dataset.asked === undefined) {
      button.dataset.asked = "";
      button.textContent = "Really remove?";
      button.setAttribute("aria-label", `Really remove? ${name}`);
      button.addEventListener("blur", () => this.#show(this.#found), { once: true });
      return;
    }
    await this.#act(async () => {
      await this.#page.rest.delete(`destinations/${id}`);
      this.#show(this.#found.filter((each) => each.id !== id));
      this.#part("#destination-address").focus();
      this.#page.announce(`${name} is removed.`);
    });
  }

  async #act(action) {
    const problem = this.#part("[data-destinations-problem]");
    problem.textContent = "";
    try {
      await action();
    } catch (error) {
      problem.textContent = format.sentence(error.message);
    }
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }
}

function factsOf(destination) {
  const { kind, last_result: last } = destination;
  const facts = [kind, stateOf(destination)];
  if (last !== null) {
    const result = last.error ? `${last.status}: ${last.error}` : last.status;
    facts.push(`${format.date(last.at)} ${format.timeOfDay(last.at)} ${result}`);
  }
  return facts.filter(Boolean).join(" · ");
}
