"use strict";

{
  const input = document.getElementById("raw-key");
  const copied = document.getElementById("copied");

  // A reload of this page would send the form again: from now on it loads the key's page.
  history.replaceState(null, "", document.querySelector(".key-shown").dataset.url);

  input.addEventListener("focus", () => input.select());
  document.getElementById("copy-key").addEventListener("click", async () => {
    input.select();
    try {
      await navigator.clipboard.writeText(input.value);
      copied.textContent = "Copied";
    } catch {
      // Without HTTPS there is no clipboard; the key is selected.
      copied.textContent = "Press Ctrl+C (⌘C)";
    }
  });
}
