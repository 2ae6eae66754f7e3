// The form in which a credential is entered, and what has become of it.

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
    page.alerts.addEventListener("connected", ({ detail }) => {
      this.#show(detail.authenticated ? "in use" : "anonymous");
    });
    page.alerts.addEventListener("state", ({ detail }) => {
      if (detail.code === CloseCode.UNAUTHORIZED) this.#show("refused", detail.reason);
    });
  }

  #use(token) {
    try {
      this.#page.client.setToken(token);
      this.#page.credential.token = token;
      this.#show(token === "" ? "anonymous" : "in use");
      this.#page.userChanged();
    } catch (error) {
      this.#show("refused", error.message);
    }
  }

  #show(state, problem = "") {
    this.#element.querySelector("[data-credential]").textContent = state;
    this.#element.querySelector(".problem").textContent = format.sentence(problem);
  }
}
