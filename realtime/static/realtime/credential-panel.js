// Who this page acts for, the form in which a credential is entered, and what has become of it.

import { CloseCode } from "./client/index.js";
import * as format from "./format.js";

export class CredentialPanel {
  #element;
  #page;

  constructor(element, page) {
    this.#element = element;
    this.#page = page;
    const form = element.querySelector("form");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#use(form.elements.token.value.trim());
    });
    form.addEventListener("reset", () => this.#use(""));
    page.alerts.addEventListener("state", ({ detail }) => {
      if (detail.phase === "live") this.#show();
      if (detail.code === CloseCode.UNAUTHORIZED) this.#show("refused", detail.reason);
    });
    document.querySelector("[data-enter-credential]").addEventListener("click", () => {
      element.open = true;
      form.elements.token.focus();
    });
    this.#show();
  }

  userChanged() {
    this.#show();
  }

  #use(token) {
    if (!/^[A-Za-z0-9._~+-]*$/.test(token)) {
      this.#show("refused", "A credential has letters, digits and . _ ~ + - only.");
      return;
    }
    this.#page.credential.keep(token);
    this.#page.userChanged();
  }

  #show(state = this.#state, problem = "") {
    const { missing, token, user } = this.#page.credential;
    document.body.dataset.access = missing ? "needed" : "given";
    this.#element.querySelector("[data-credential]").textContent = state;
    this.#element.querySelector(".problem").textContent = format.sentence(problem);
    this.#element.querySelector("[type=reset]").hidden = token === "";
    this.#element.querySelector("[data-user-note]").hidden = user === "";
    this.#element.querySelector("[data-login-note]").hidden = user !== "";
  }

  get #state() {
    const { ended, missing, token, user } = this.#page.credential;
    if (token !== "") return token.startsWith("ara_") ? "API key" : "token";
    if (ended) return "logged out";
    return user || (missing ? "none" : "anonymous");
  }
}
