// How an alert is noticed by somebody who does not look at the page: a sound, and a notification of
// the desktop. Both are off until they are asked for; this browser remembers that.

const PAUSE_MS = 1500; // alerts of a burst are told together
const LOCK = "realtime-alert-sound";
const NOTES_HZ = { critical: [880, 1175, 880], high: [880, 1175] };
const USUAL_HZ = [660];

export class AlertNotices {
  #element;
  #pending = [];
  #timer = null;
  #audio = null;
  #isFirstTab = !navigator.locks; // of those with sound, only one plays

  constructor(element) {
    this.#element = element;
    for (const name of ["sound", "desktop"]) {
      this.#button(name).addEventListener("click", () => this.#toggle(name));
    }
    if (remembered("sound")) this.#startSound();
    if (remembered("desktop") && globalThis.Notification?.permission === "granted") {
      this.#show("desktop", true);
    }
  }

  /** Of an alert that has just come. */
  tell(message) {
    this.#pending.push(message);
    this.#timer ??= setTimeout(() => this.#flush(), 0);
  }

  #flush() {
    const messages = this.#pending.splice(0);
    // Nothing for a while, so that a burst is one sound and one notification.
    this.#timer = setTimeout(() => {
      this.#timer = null;
      if (this.#pending.length > 0) this.#flush();
    }, PAUSE_MS);
    if (messages.length === 0) return;
    if (this.#isOn("sound")) this.#play(messages);
    if (this.#isOn("desktop") && !isLookedAt()) this.#notify(messages);
  }

  async #toggle(name) {
    const on = !this.#isOn(name);
    this.#explain("");
    remember(name, on);
    if (!on) this.#show(name, false);
    else if (name === "sound") this.#startSound();
    else await this.#askForDesktop();
  }

  // Sound -----------------------------------------------------------------------------------------

  #startSound() {
    this.#show("sound", true);
    // Browsers are silent until a page is used, and complain about those that try earlier.
    const open = () => {
      this.#audio ??= new AudioContext();
    };
    if (navigator.userActivation?.hasBeenActive) open();
    for (const type of ["pointerdown", "keydown"]) addEventListener(type, open, { once: true });
    navigator.locks?.request(LOCK, () => {
      this.#isFirstTab = true;
      return new Promise(() => {}); // until this tab is closed
    });
  }

  #play(messages) {
    if (!this.#isFirstTab || this.#audio === null) return;
    const severities = messages.map(({ data }) => data.severity);
    const loudest = ["critical", "high"].find((severity) => severities.includes(severity));
    for (const [index, hertz] of (NOTES_HZ[loudest] ?? USUAL_HZ).entries()) {
      this.#note(hertz, this.#audio.currentTime + index * 0.16);
    }
  }

  #note(hertz, start) {
    const oscillator = new OscillatorNode(this.#audio, { frequency: hertz });
    const gain = new GainNode(this.#audio, { gain: 0.15 });
    gain.gain.setTargetAtTime(0, start + 0.06, 0.03);
    oscillator.connect(gain).connect(this.#audio.destination);
    oscillator.start(start);
    oscillator.stop(start + 0.3);
  }

  // The desktop -----------------------------------------------------------------------------------

  async #askForDesktop() {
    const permission = await globalThis.Notification?.requestPermission();
    this.#show("desktop", permission === "granted");
    if (permission === undefined) this.#explain("This browser shows no notifications for this page.");
    if (permission === "denied") {
      this.#explain("The browser blocks notifications of this page. Allow them in its settings.");
    }
  }

  #notify(messages) {
    const { id, data } = messages.at(-1);
    const more = messages.length > 1 ? `\nand ${messages.length - 1} more` : "";
    const title = [data.severity, data.symbol].filter(Boolean).join(" ") || "Alert";
    try {
      // Tabs that tell of the same alert show one notification.
      const shown = new Notification(title, { body: `${data.message ?? ""}${more}`, tag: id });
      shown.addEventListener("click", () => globalThis.focus());
    } catch {
      this.#show("desktop", false); // phones have them for installed pages only
      this.#explain("This browser shows no notifications for this page.");
    }
  }

  // Buttons ---------------------------------------------------------------------------------------

  #button(name) {
    return this.#element.querySelector(`[data-notice-by="${name}"]`);
  }

  #isOn(name) {
    return this.#button(name).getAttribute("aria-pressed") === "true";
  }

  #show(name, on) {
    this.#button(name).setAttribute("aria-pressed", on);
  }

  #explain(text) {
    this.#element.querySelector("[data-notice-problem]").textContent = text;
  }
}

function isLookedAt() {
  return !document.hidden && document.hasFocus();
}

function remembered(name) {
  try {
    return localStorage.getItem(`realtime-alerts-${name}`) === "on";
  } catch {
    return false; // this browser stores nothing for pages
  }
}

function remember(name, on) {
  try {
    if (on) localStorage.setItem(`realtime-alerts-${name}`, "on");
    else localStorage.removeItem(`realtime-alerts-${name}`);
  } catch {
    // It is on as long as this page.
  }
}
