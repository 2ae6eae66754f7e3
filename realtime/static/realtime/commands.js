// The commands that the page shows, and the button that copies one.

export function commandFor(symbol, python = "python") {
  // Quoted only where a shell may read more into it: ^GSPC, EURUSD=X.
  const word = /^[A-Z0-9.\-_:/]+$/.test(symbol) ? symbol : `'${symbol}'`;
  return `${python} manage.py broadcast_market_data ${word} '{"price": 149.5, "volume": 1000000}'`;
}

/** Adds a copy button to every `.command` below `root`, where the browser allows copying. */
export function addCopyButtons(root) {
  if (!navigator.clipboard) return; // a page over plain HTTP from another machine
  for (const command of root.querySelectorAll(".command")) {
    if (command.querySelector("button") !== null) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => {
        button.textContent = "Copy";
      }, 1500);
    });
    command.append(button);
  }
}
