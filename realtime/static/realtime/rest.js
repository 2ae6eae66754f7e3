// Requests of this page to the REST API, as the user of the session or with the credential that was
// entered.

export class RestError extends Error {
  /** `problems`: what is wrong with each field, { name: [texts] }; {} where it is not about fields. */
  constructor(message, { status = 0, problems = {}, retryAfterMs = null } = {}) {
    super(message);
    this.name = "RestError";
    this.status = status; // 0: no answer at all
    this.problems = problems;
    this.retryAfterMs = retryAfterMs;
  }
}

export class Rest {
  #root;
  #credential;
  #csrf;

  /** `root`: the URL of the API with its slash; `credential`: see page-credential.js; `csrf`: the
   * name of the header and its value. */
  constructor({ root, credential, csrf }) {
    this.#root = root;
    this.#credential = credential;
    this.#csrf = csrf;
  }

  /** `query`: { name: value }; what is undefined or null is left out. */
  get(path, query = {}) {
    const known = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const text = new URLSearchParams(known).toString();
    return this.#send("GET", text ? `${path}?${text}` : path);
  }

  /** The results of all pages of a list. */
  async all(path) {
    const found = [];
    let cursor;
    do {
      const { results, next } = await this.get(path, { cursor });
      found.push(...results);
      cursor = next ? new URL(next, location.href).searchParams.get("cursor") : null;
    } while (cursor);
    return found;
  }

  post(path, body) {
    return this.#send("POST", path, body);
  }

  put(path, body) {
    return this.#send("PUT", path, body);
  }

  patch(path, body) {
    return this.#send("PATCH", path, body);
  }

  delete(path) {
    return this.#send("DELETE", path);
  }

  /** The body of the answer, null for none; throws RestError. */
  async #send(method, path, body) {
    const headers = { Accept: "application/json", ...this.#credential.headers };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (method !== "GET") headers[this.#csrf.header] = this.#csrf.token;
    const answer = await this.#fetch(path, { method, headers, body: JSON.stringify(body) });
    const content = await contentOf(answer);
    if (!answer.ok) throw errorOf(answer, content);
    return content;
  }

  async #fetch(path, options) {
    try {
      return await fetch(this.#root + path, { ...options, credentials: "same-origin" });
    } catch {
      throw new RestError("The server cannot be reached.");
    }
  }
}

async function contentOf(answer) {
  const text = await answer.text();
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null; // a page of a proxy
  }
}

function errorOf(answer, content) {
  const { detail, ...problems } = content ?? {};
  const seconds = Number(answer.headers.get("Retry-After"));
  const about = {
    status: answer.status,
    problems: Array.isArray(content) ? {} : problems,
    retryAfterMs: seconds > 0 ? seconds * 1000 : null,
  };
  return new RestError(detail ?? firstText(content) ?? `The server answered ${answer.status}.`, about);
}

/** The first text in what REST framework says about fields: texts in lists in objects. */
function firstText(content) {
  if (typeof content === "string") return content;
  if (content === null || typeof content !== "object") return undefined;
  return Object.values(content).map(firstText).find((text) => text !== undefined);
}
