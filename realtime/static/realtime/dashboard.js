// The page: a client of three channels, one card per symbol, the alerts, and the two forms.

import { AlertList } from "./alert-list.js";
import { AraClient, CloseCode } from "./client/index.js";
import { addCopyButtons } from "./commands.js";
import { ConnectionTile } from "./connection-tile.js";
import * as format from "./format.js";
import { SymbolCard } from "./symbol-card.js";
import { parseSymbol } from "./symbols.js";

const ANSWER_LIMIT_MS = 15_000;
const ROUND_TRIP_EVERY_MS = 10_000;
const REPLAY = "replay";

const find = (selector) => document.querySelector(selector);
const symbols = document.body.dataset.symbols.split(/\s+/).filter(Boolean);

// `/ws`, or below it what the project has put before it.
const client = new AraClient({ url: document.body.dataset.ws, symbols, history: 120 });
const market = client.channel("market-data");
const predictions = client.channel("predictions", { symbols });
const alerts = client.channel("alerts", { history: 20 });

const cards = new Map(); // symbol -> SymbolCard
const requests = new Map(); // request_id -> { card, sent, timer }
const alertList = new AlertList(find("[data-alerts]"), find("[data-no-alerts]"), announce);

const tiles = [
  ["Market data", market],
  ["Predictions", predictions],
  ["Alerts", alerts],
].map(([name, channel]) => {
  const tile = new ConnectionTile(name, channel, {
    onPhase(phase) {
      if (channel === market) find("[data-cards]").dataset.live = phase === "live" ? "yes" : "no";
      if (phase === "live") tile.measureRoundTrip();
      if (phase === "waiting") announce(`${name}: connection lost, reconnecting`);
      if (phase === "closed") announce(`${name}: closed`);
    },
  });
  find("[data-sockets]").append(tile.element);
  tile.render();
  return tile;
});
const [marketTile, predictionsTile, alertsTile] = tiles;

// Updates ---------------------------------------------------------------------------------------

function count(tile, message) {
  if (!message.replayed) tile.rate.count(performance.now());
}

market.addEventListener("market_data_update", ({ detail }) => {
  count(marketTile, detail);
  cards.get(detail.symbol)?.applyMarketData(detail);
});
market.addEventListener("stream_status", ({ detail }) => {
  cards.get(detail.symbol)?.applyStreamStatus(detail);
});
predictions.addEventListener("prediction_update", ({ detail }) => {
  count(predictionsTile, detail);
  cards.get(detail.symbol)?.applyPrediction(detail);
  finishRequest(detail.request_id, (elapsed) => `Answered in ${format.milliseconds(elapsed)}`);
});
predictions.addEventListener("prediction_outcome", ({ detail }) => {
  cards.get(detail.symbol)?.applyOutcome(detail);
});
predictions.addEventListener("error", ({ detail }) => {
  const reason = format.sentence(detail.message);
  finishRequest(detail.details?.request_id, () => reason, { failed: true });
});
alerts.addEventListener("alert", ({ detail }) => {
  count(alertsTile, detail);
  alertList.add(detail);
});
alerts.addEventListener("connected", ({ detail }) => {
  find("[data-credential]").textContent = detail.authenticated ? "in use" : "anonymous";
});
alerts.addEventListener("state", ({ detail }) => {
  if (detail.code !== CloseCode.UNAUTHORIZED) return;
  find("[data-credential]").textContent = "refused";
  find("#token-error").textContent = format.sentence(detail.reason);
});

// Drawing ---------------------------------------------------------------------------------------

let frame = null;

function draw() {
  frame ??= requestAnimationFrame(() => {
    frame = null;
    for (const card of cards.values()) card.render();
    const replayed = [...cards.values()].filter((card) => card.source === REPLAY);
    find("[data-replay]").hidden = replayed.length === 0;
    const day = replayed.map((card) => card.barDate).filter(Boolean).sort().at(-1);
    find("[data-replay-day]").textContent = day ? `now at ${format.date(day)}` : "";
  });
}

function drawTotals() {
  for (const tile of tiles) tile.render();
  const now = performance.now();
  const total = tiles.reduce((sum, tile) => sum + tile.rate.perSecond(now), 0);
  find("[data-rate]").textContent = total.toFixed(1);
  const times = tiles.map((tile) => tile.roundTripMs).filter(Number.isFinite).sort((a, b) => a - b);
  find("[data-latency]").textContent = format.milliseconds(times[times.length >> 1]);
}

function announce(text) {
  find("[data-announcer]").textContent = text;
}

// Symbols ---------------------------------------------------------------------------------------

function addCard(symbol) {
  const card = new SymbolCard(symbol, {
    onPredict: requestPrediction,
    onRemove: removeCard,
    onChange: draw,
  });
  cards.set(symbol, card);
  find("[data-add]").before(card.element);
  addCopyButtons(card.element);
}

function removeCard(card) {
  cards.delete(card.symbol);
  card.element.remove();
  draw();
  for (const channel of [market, predictions]) {
    channel.unsubscribe([card.symbol]).catch(() => {}); // not connected: not subscribed again either
  }
  find("#symbol").focus();
}

async function requestPrediction(card) {
  const sent = performance.now();
  card.showRequest("Requested …", { busy: true });
  try {
    const { request_id: id } = await client.requestPrediction(card.symbol);
    const timer = setTimeout(() => {
      finishRequest(id, () => "No answer. Try again.", { failed: true });
    }, ANSWER_LIMIT_MS);
    requests.set(id, { card, sent, timer });
  } catch (error) {
    card.showRequest(format.sentence(error.message), { failed: true });
  }
}

function finishRequest(id, text, options) {
  const request = requests.get(id);
  if (request === undefined) return;
  requests.delete(id);
  clearTimeout(request.timer);
  request.card.showRequest(text(performance.now() - request.sent), options);
}

// Forms -----------------------------------------------------------------------------------------

find('[data-form="symbol"]').addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = find("#symbol");
  const fail = (error) => {
    find("#symbol-error").textContent = format.sentence(error?.message ?? "");
    input.toggleAttribute("aria-invalid", error !== undefined);
  };
  fail();
  try {
    const symbol = parseSymbol(input.value);
    if (cards.has(symbol)) throw new RangeError(`${symbol} is already here.`);
    const added = market.subscribe([symbol]);
    // Without a connection the symbol waits for it, with its card in place.
    if (market.state.phase === "live") await added;
    else added.catch(fail);
    predictions.subscribe([symbol]).catch(fail);
    addCard(symbol);
    input.value = "";
  } catch (error) {
    fail(error);
  }
});

const tokenForm = find('[data-form="token"]');
tokenForm.addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(find("#token").value.trim());
});
tokenForm.addEventListener("reset", () => useToken(""));

function useToken(token) {
  find("#token-error").textContent = "";
  try {
    client.setToken(token);
    alertList.clear();
  } catch (error) {
    find("#token-error").textContent = error.message;
  }
}

// Start -----------------------------------------------------------------------------------------

for (const symbol of symbols) addCard(symbol);
addCopyButtons(document);
client.connect();
setInterval(drawTotals, 500);
setInterval(() => {
  if (!document.hidden) for (const tile of tiles) tile.measureRoundTrip();
}, ROUND_TRIP_EVERY_MS);
