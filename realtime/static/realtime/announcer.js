// What screen readers hear of what happens by itself: not everything, and not faster than it is read.

const PAUSE_MS = 3_000; // about as long as a sentence takes

export class Announcer {
  #element;
  #waiting = new Map(); // topic -> its newest text, or a function that makes it
  #timer = null;

  /** `element`: with the role `status`. */
  constructor(element) {
    this.#element = element;
  }

  /** At once, if nothing was said just before. A newer text of the same topic takes the place of one
   * that waits; `text` may be a function, which is called when its turn comes. */
  say(text, topic = text) {
    this.#waiting.set(topic, text);
    if (this.#timer === null) this.#speak();
  }

  #speak() {
    const texts = [...this.#waiting.values()].map((text) => (typeof text === "string" ? text : text()));
    this.#waiting.clear();
    const said = texts.filter(Boolean).join(" ");
    this.#timer = said === "" ? null : setTimeout(() => this.#speak(), PAUSE_MS);
    if (said === "") return;
    // The same words once more are news, too: with a space, the element changes.
    this.#element.textContent = said === this.#element.textContent ? `${said}\u00a0` : said;
  }
}
