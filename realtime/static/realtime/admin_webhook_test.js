"use strict";

// Asks for this page again until it has the result of the test, and shows the part that has changed.
{
  const EVERY_MS = 1000;
  const outcome = document.querySelector("[data-outcome]");
  const state = () => outcome.querySelector("[data-state]").dataset.state;

  const look = async () => {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = page.querySelector("[data-outcome]");
      if (!found) return; // logged out
      if (found.textContent !== outcome.textContent) {
        outcome.replaceChildren(...found.childNodes);
      }
    } catch {
      // The server is away: it is asked again.
    }
    if (state() === "waiting") setTimeout(look, EVERY_MS);
  };

  if (state() === "waiting") setTimeout(look, EVERY_MS);
}
