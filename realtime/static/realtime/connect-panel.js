// How to connect a client of one's own: code for what is chosen, with the URLs of this server.

import { addCopyButtons } from "./commands.js";
import { LANGUAGES } from "./connect-code.js";
import { choose } from "./dom.js";
import * as format from "./format.js";
import { parseSymbol } from "./symbols.js";

const PLACEHOLDERS = { "": "", key: "YOUR_KEY", token: "YOUR_TOKEN" };

export class ConnectPanel {
  #element;
  #credential;
  #fields;

  /** `symbols()`: those of the watchlist. */
  constructor(element, { credential, symbols }) {
    this.#element = element;
    this.#credential = credential;
    const form = element.querySelector("form");
    const languages = Object.fromEntries(Object.keys(LANGUAGES).map((name) => [name, name]));
    const language = choose(languages, "JavaScript", { id: "connect-language" });
    form.querySelector("[data-language]").append(language);
    const named = (name) => form.querySelector(`#connect-${name}`);
    this.#fields = { channel: named("channel"), symbols: named("symbols"), kind: named("credential"), language };
    form.addEventListener("input", () => this.#draw());
    form.addEventListener("submit", (event) => event.preventDefault());
    element.addEventListener("toggle", () => {
      if (this.#fields.symbols.value === "") this.#fields.symbols.value = symbols().slice(0, 5).join(", ");
      this.userChanged();
    });
    for (const link of document.querySelectorAll('a[href="#connect"]')) {
      link.addEventListener("click", () => this.#open());
    }
    if (location.hash === "#connect") this.#open();
    addCopyButtons(element);
  }

  #open() {
    this.#element.open = true;
  }

  userChanged() {
    const { token } = this.#credential;
    if (token !== "") this.#fields.kind.value = token.startsWith("ara_") ? "key" : "token";
    this.#draw();
  }

  #draw() {
    const { channel, kind, language } = this.#fields;
    const problem = this.#element.querySelector(".problem");
    try {
      const about = { channel: channel.value, symbols: this.#symbols, kind: kind.value, secret: this.#secret, ...urls() };
      const { note, text } = LANGUAGES[language.value](about);
      this.#element.querySelector("[data-note]").textContent = note;
      this.#element.querySelector("code").textContent = text;
      problem.textContent = "";
    } catch (error) {
      problem.textContent = format.sentence(error.message);
    }
    this.#fields.symbols.disabled = channel.value === "alerts";
  }

  get #symbols() {
    if (this.#fields.channel.value === "alerts") return [];
    return this.#fields.symbols.value.split(/[\s,]+/).filter(Boolean).map(parseSymbol);
  }

  /** The credential that this page has, if it is of that kind. */
  get #secret() {
    const { token } = this.#credential;
    const kind = token.startsWith("ara_") ? "key" : "token";
    return token !== "" && kind === this.#fields.kind.value ? token : PLACEHOLDERS[this.#fields.kind.value];
  }
}

/** Where this server has what the code asks for. */
function urls() {
  const { api, ws } = document.body.dataset;
  const below = (path) => new URL(path, location.href).href;
  const root = below(ws).replace(/\/ws$/, "");
  return {
    http: root,
    ws: below(ws).replace(/^http/, "ws"),
    sse: `${root}/sse`,
    api: below(api),
    script: new URL("./client/index.js", import.meta.url).href,
  };
}
