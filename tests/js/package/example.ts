// Checked by tsc --strict, never run: what the types of the package allow, and what they refuse.
import { AraClient, AraError, ARAWebSocketClient, CloseCode, type MarketDataUpdate } from "ara-realtime-client";
import { ErrorCode } from "ara-realtime-client/protocol";
import WebSocket from "./socket";

const client = new AraClient({
  url: "wss://example.com/ws",
  symbols: ["AAPL"],
  since: { AAPL: { epoch: "h3J2x9aQ", offset: 17 } },
  getToken: async ({ reason }) => (reason === "expiring" ? null : "ara_…"),
  WebSocket,
});
const show = ({ symbol, data, offset, folded }: MarketDataUpdate) => {
  const price: number | undefined = data.price;
  const own: unknown = data.anything_else;
  return [symbol.toUpperCase(), price?.toFixed(2), own, offset, folded];
};
const stop: () => void = client.on("market_data_update", show);
client.on("state", ({ phase, code }) => phase === "closed" && code === CloseCode.UNAUTHORIZED);
client.addEventListener("prediction_update", ({ detail, channel }) => {
  const bounds: (number | undefined)[] = [detail.data.lower_bound, detail.data.upper_bound];
  return [bounds, channel === "predictions"];
});
client.channel("alerts", { history: 20 }).on("alert", ({ data }) => data.severity === "high");
client.subscribe("MSFT").then(({ symbols, streams }) => [symbols[0], streams.MSFT?.epoch]);
client.subscribe(new Set(["IBM"])).catch((error: AraError) => error.code === ErrorCode.RATE_LIMITED);
client.status().then(({ limits }) => limits.subscriptions?.left);
const positions: { [stream: string]: { epoch: string; offset: number } } = client.channel("alerts").positions;
client.channel("predictions", { symbols: "AAPL", since: positions });
stop();

const first = new ARAWebSocketClient("ws://localhost:8000/ws/predictions", "AAPL", "YOUR_TOKEN");
first.onPredictionUpdate = (data) => console.log(data.predicted_price?.toFixed(2), data.more);
first.handleMessage = (message) => message.type === "gap" && message.to_offset;

// @ts-expect-error: no such channel
client.channel("prices");
// @ts-expect-error: symbols are strings
client.subscribe([7]);
// @ts-expect-error: no such event
client.on("price", () => {});
// @ts-expect-error: a price is a number
client.on("market_data_update", ({ data }) => data.price?.toUpperCase());
// @ts-expect-error: a misspelled option
new AraClient({ symbol: "AAPL" });
