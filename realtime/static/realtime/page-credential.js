// Whom this page acts for: the user of the session, or the owner of a credential that was entered.

export class PageCredential {
  /** The JWT or API key that was entered; "" for none. */
  token = "";

  /** For requests to the REST API: `Bearer` takes a key as well. */
  get headers() {
    return this.token === "" ? {} : { Authorization: `Bearer ${this.token}` };
  }
}
