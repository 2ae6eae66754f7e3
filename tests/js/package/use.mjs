// Uses the installed package as a program of somebody else: node use.mjs URL; prints a price.
import { AraClient } from "ara-realtime-client";

const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket;
const client = new AraClient({ url: process.argv[2], symbols: "AAPL", WebSocket });
client.on("market_data_update", ({ symbol, data }) => {
  console.log(symbol, data.price);
  client.close();
});
client.connect();
