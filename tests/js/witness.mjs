// A client that reports what it sees, in a page and in Node:
//   node witness.mjs PATH-OF-WS-OR-"" '{"url": …, "symbol": …, "known": …}'
// If it is known, it reads a list of tokens from its standard input, when it is about to connect.

const TYPES = ["state", "market_data_update", "gap", "token_expiring", "authenticated", "error"];

/** `readTokens`: a promise of tokens, given one after the other, the last one from then on. */
export function watch(AraClient, { url, symbol, readTokens, WebSocket }, report) {
  let reading;
  const getToken = async () => {
    const tokens = await (reading ??= readTokens());
    return tokens.length > 1 ? tokens.shift() : tokens[0];
  };
  const credential = readTokens ? { getToken } : {};
  const client = new AraClient({ url, symbols: symbol, WebSocket, ...credential });
  for (const type of TYPES) client.on(type, report);
  client.connect();
  return client;
}

if (globalThis.process !== undefined) {
  const [path, options] = process.argv.slice(2);
  const { AraClient } = await import("../../realtime/static/realtime/client/index.js");
  const { createInterface } = await import("node:readline");
  const { WebSocket } = path === "" ? globalThis : await import(path);
  const { known, ...given } = JSON.parse(options);
  const readTokens = known
    ? () => new Promise((resolve) => {
        const lines = createInterface({ input: process.stdin });
        lines.once("line", (line) => { resolve(JSON.parse(line)); lines.close(); });
      })
    : undefined;
  watch(AraClient, { ...given, readTokens, WebSocket }, (message) => {
    console.log(JSON.stringify(message));
  });
}
