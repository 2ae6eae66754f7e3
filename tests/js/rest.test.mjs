import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { Rest } from "../../realtime/static/realtime/rest.js";

const asked = [];
let answer = { status: 200, body: {} };
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { method, url, headers } = request;
  asked.push({ method, url, headers, body: Buffer.concat(chunks).toString() });
  response.writeHead(answer.status, answer.headers);
  response.end(typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body));
});
const credential = { headers: {} };
let rest;

before(async () => {
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const root = `http://127.0.0.1:${server.address().port}/api/v1/`;
  rest = new Rest({ root, credential, csrf: { header: "X-CSRFToken", token: "forgery" } });
});
after(() => server.close());

/** The error that a request ends with. */
async function failure(promise) {
  return promise.then(() => assert.fail("no error"), (error) => error);
}

test("a question leaves out what is not known and proves nothing", async () => {
  answer = { status: 200, body: { bars: [] } };
  assert.deepEqual(await rest.get("bars", { symbol: "BTC/USD", before: undefined, limit: 3 }), { bars: [] });
  const { url, headers } = asked.at(-1);
  assert.equal(url, "/api/v1/bars?symbol=BTC%2FUSD&limit=3");
  assert.equal(headers["x-csrftoken"], undefined);
});

test("what changes something carries the proof against forgery and the body", async () => {
  await rest.post("alert-rules", { name: "up" });
  const { method, headers, body } = asked.at(-1);
  assert.equal(method, "POST");
  assert.equal(headers["x-csrftoken"], "forgery");
  assert.equal(body, '{"name":"up"}');
});

test("a credential that was entered goes along", async () => {
  credential.headers = { Authorization: "Bearer ara_key" };
  await rest.delete("alert-rules/1");
  credential.headers = {};
  assert.equal(asked.at(-1).headers.authorization, "Bearer ara_key");
});

test("an answer without a body is null", async () => {
  answer = { status: 204, body: "" };
  assert.equal(await rest.delete("alert-rules/1"), null);
});

test("an error has the problem of each field", async () => {
  answer = { status: 400, body: { conditions: [{ value: ["A number is required."] }] } };
  const error = await failure(rest.post("alert-rules", {}));
  assert.equal(error.status, 400);
  assert.equal(error.message, "A number is required.");
  assert.deepEqual(error.problems, answer.body);
});

test("an error says what the server says, and when to try again", async () => {
  answer = { status: 429, headers: { "Retry-After": "2" }, body: { detail: "Too many reads." } };
  const error = await failure(rest.get("streams"));
  assert.equal(error.message, "Too many reads.");
  assert.equal(error.retryAfterMs, 2000);
});

test("an error page of a proxy is an error with its status", async () => {
  answer = { status: 502, body: "<html>Bad Gateway" };
  assert.equal((await failure(rest.get("streams"))).message, "The server answered 502.");
});

test("a server that is away is told", async () => {
  const away = new Rest({ root: "http://127.0.0.1:9/", credential, csrf: {} });
  const error = await failure(away.get("streams"));
  assert.equal(error.status, 0);
  assert.equal(error.message, "The server cannot be reached.");
});
