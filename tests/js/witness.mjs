// A client that reports what it sees, in a page and in Node:
//   node witness.mjs PATH-OF-WS-OR-"" '{"url": …, "symbol": …, "tokens": […]}'

const TYPES = ["state", "market_data_update", "gap", "token_expiring", "authenticated", "error"];

/** Tokens are given one after the other, the last one from then on. */
export function watch(AraClient, { url, symbol, tokens, WebSocket }, report) {
  const getToken = () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
  const credential = tokens.length > 0 ? { getToken } : {};
  const client = new AraClient({ url, symbols: symbol, WebSocket, ...credential });
  for (const type of TYPES) client.on(type, report);
  client.connect();
  return client;
}

if (globalThis.process !== undefined) {
  const [path, options] = process.argv.slice(2);
  const { AraClient } = await import("../../realtime/static/realtime/client/index.js");
  const { WebSocket } = path === "" ? globalThis : await import(path);
  watch(AraClient, { ...JSON.parse(options), WebSocket }, (message) => {
    console.log(JSON.stringify(message));
  });
}
