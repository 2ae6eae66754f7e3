// Where the alerts of a rule are sent to: destinations by their names, each with a box to tick.

import { make } from "./dom.js";
import { sentence } from "./format.js";

const NONE = "The owner of the rule has no e-mail address or chat to send to.";

export class RuleDestinations {
  #choices;
  #note;
  #ask;
  #changed;
  #loads = 0;
  #chosen = [];

  /** `ask()` resolves with the destinations of the rule's owner; `changed(ids)` after each tick. */
  constructor(field, { ask, changed }) {
    this.#choices = field.querySelector("[data-choices]");
    this.#note = field.querySelector(".note");
    this.#ask = ask;
    this.#changed = changed;
  }

  /** `ids`: those of a rule; one that its owner does not have is shown by its number. */
  async show(ids) {
    const load = ++this.#loads;
    this.#chosen = Array.isArray(ids) ? ids : [];
    this.#draw([], "");
    try {
      const known = await this.#ask();
      if (load === this.#loads) this.#draw(known, NONE);
    } catch (error) {
      if (load === this.#loads) this.#draw([], sentence(error.message));
    }
  }

  #draw(known, none) {
    const ids = known.map(({ id }) => id);
    const others = this.#chosen.filter((id) => !ids.includes(id));
    const items = [
      ...known.map((each) => this.#item(each.id, nameOf(each))),
      ...others.map((id) => this.#item(id, `Destination ${id}`)),
    ];
    this.#choices.replaceChildren(...items);
    this.#note.textContent = known.length === 0 ? none : "";
  }

  #item(id, name) {
    const checked = this.#chosen.includes(id);
    const box = make("input", { type: "checkbox", value: id, checked });
    box.addEventListener("change", () => this.#tick(id, box.checked));
    return make("label", { class: "rule-tick" }, box, name);
  }

  #tick(id, ticked) {
    const others = this.#chosen.filter((each) => each !== id);
    this.#chosen = ticked ? [...others, id] : others;
    this.#changed(this.#chosen.length === 0 ? undefined : this.#chosen);
  }
}

/** The destinations of the user of a page. Keys are for programs, and have none. */
export async function readDestinations({ rest, credential }) {
  if (credential.token.startsWith("ara_")) throw new Error("Log in to choose among your e-mail addresses and chats");
  return rest.all("destinations");
}

/** The name of a destination and, if nothing is sent to it at present, why. */
export function nameOf({ description, address, ...rest }) {
  const name = description ? `${description} (${address})` : address;
  const state = stateOf(rest);
  return state === "" ? name : `${name}: ${state}`;
}

export function stateOf({ enabled, confirmed, disabled_reason: reason }) {
  if (!enabled) return reason === "failing" ? "paused, since it failed for long" : "paused";
  return confirmed ? "" : "waits for its confirmation";
}
