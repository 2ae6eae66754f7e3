// Choices that stay: in the address of the page, which comes first, and in this browser.

const PREFIX = "ara-realtime-";

export class PageChoice {
  #name;
  #allowed;

  /** `name`: of the parameter of the address; `allowed`: its values, the usual one first. */
  constructor(name, allowed) {
    this.#name = name;
    this.#allowed = allowed;
  }

  get value() {
    const named = [new URLSearchParams(location.search).get(this.#name), kept(this.#name)];
    return named.find((value) => this.#allowed.includes(value)) ?? this.#allowed[0];
  }

  set value(value) {
    keep(this.#name, value);
    nameInAddress(this.#name, value);
  }
}

/** What this browser keeps under a name, else null. */
export function kept(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null; // this browser stores nothing for pages
  }
}

export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // this browser stores nothing for pages
  }
}

/** Without a new entry in the history of the tab. */
export function nameInAddress(name, value) {
  const address = new URL(location.href);
  address.searchParams.set(name, value);
  history.replaceState(history.state, "", address);
}
