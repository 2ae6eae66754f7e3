// Whom this page acts for: the owner of a credential that was entered, else the user of the session,
// else nobody. What was entered is kept for this tab.

const KEY = "ara-realtime-credential";

export class PageCredential {
  /** The JWT or API key that was entered; "" for none. */
  token = read();
  /** The session was there and is over: somebody logged out, here or in another tab. */
  ended = false;
  #anonymousAllowed;

  /** `user`: whose session this is; "" for nobody's. */
  constructor({ user, anonymousAllowed }) {
    this.user = user;
    this.#anonymousAllowed = anonymousAllowed;
  }

  /** Nothing can be received before somebody logs in or enters a credential. */
  get missing() {
    return this.token === "" && this.user === "" && !this.#anonymousAllowed;
  }

  /** For requests to the REST API: `Bearer` takes a key as well. */
  get headers() {
    return this.token === "" ? {} : { Authorization: `Bearer ${this.token}` };
  }

  /** @param {string} token "" to forget the one that was entered */
  keep(token) {
    this.token = token;
    try {
      if (token === "") sessionStorage.removeItem(KEY);
      else sessionStorage.setItem(KEY, token);
    } catch {
      // This browser stores nothing for pages: it is kept as long as this page.
    }
  }

  /** What opens the next socket: `getTicket` of the client. `onEnd()`: see `ended`.
   * @param {"connect" | "expiring"} reason */
  async ticket(reason, rest, onEnd) {
    if (this.token !== "" && reason === "expiring") throw new Error("enter a new credential");
    if (this.token !== "" || this.user === "") return this.token;
    try {
      return (await rest.post("auth/ticket")).ticket;
    } catch (error) {
      if (![401, 403].includes(error.status)) throw error; // it is tried again
      this.user = "";
      this.ended = true;
      onEnd();
      return "";
    }
  }
}

function read() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}
