// The page: a client of three channels, and the panels that show what it receives.

import { AlertPanel } from "./alert-panel.js";
import { Announcer } from "./announcer.js";
import { ChartPanel } from "./chart-panel.js";
import { AraClient } from "./client/index.js";
import { addCopyButtons } from "./commands.js";
import { ConnectPanel } from "./connect-panel.js";
import { ConnectionNotice } from "./connection-notice.js";
import { ConnectionsPanel } from "./connections-panel.js";
import { CredentialPanel } from "./credential-panel.js";
import { DestinationPanel } from "./destination-panel.js";
import { PageCredential } from "./page-credential.js";
import { PredictionRequests } from "./prediction-requests.js";
import { Rest } from "./rest.js";
import { RulePanel } from "./rule-panel.js";
import { StatusPanel } from "./status-panel.js";
import { SymbolForm } from "./symbol-form.js";
import { SymbolList } from "./symbol-list.js";
import { SymbolPicker } from "./symbol-picker.js";
import { savedSymbols, saveSymbols } from "./watchlist.js";

const find = (selector) => document.querySelector(selector);
const { dataset } = document.body;
const symbols = savedSymbols(dataset.symbols);

const credential = new PageCredential({
  user: dataset.user,
  anonymousAllowed: dataset.anonymous === "allowed",
});
const csrf = { header: dataset.csrfHeader, token: dataset.csrfToken };
const rest = new Rest({ root: dataset.api, credential, csrf });
const client = new AraClient({
  url: dataset.ws, // `/ws`, or below it what the project has put before it
  symbols,
  history: 120,
  getTicket: ({ reason }) => credential.ticket(reason, rest, page.userChanged),
});
const announcer = new Announcer(find("[data-announcer]"));

// What every panel gets. Panels with a method `userChanged` are told when the credential is another.
const page = {
  client,
  credential,
  market: client.channel("market-data"),
  predictions: client.channel("predictions", { symbols }),
  alerts: client.channel("alerts", { history: 20 }),
  rest,
  symbols: () => list.symbols,
  announce: (...what) => announcer.say(...what),
  userChanged() {
    for (const panel of panels) panel.userChanged?.();
    if (credential.missing) client.close();
    else client.setToken(""); // connects again; the credential comes from getTicket
  },
};

const requests = new PredictionRequests(page);
const chart = new ChartPanel(find("[data-chart]"), { ...page, requests });
const rules = new RulePanel(find("[data-rules]"), find("[data-rule-editor]"), page);
const list = new SymbolList(find(".prices"), page, {
  predict: (state) => requests.request(state.symbol, (...how) => state.applyRequest(...how)),
  chart: (state) => chart.open(state.symbol),
  alert: (state) => rules.create(state),
  remove: (state) => removeSymbol(state.symbol),
});
const form = new SymbolForm(find('[data-form="symbol"]'), addSymbol);
const panels = [
  new SymbolPicker(find("#symbol"), { rest, isHere: (symbol) => list.has(symbol) }),
  new ConnectionNotice(find("[data-notice]"), page),
  new ConnectionsPanel(find(".sockets"), page),
  new CredentialPanel(find(".credential"), page),
  new AlertPanel(find(".alerts"), page),
  rules,
  new DestinationPanel(find("[data-destinations]"), page),
  chart,
  new ConnectPanel(find("[data-connect]"), page),
  new StatusPanel(find("[data-going-on]"), page),
];

async function addSymbol(symbol) {
  if (list.has(symbol)) throw new RangeError(`${symbol} is already here.`);
  list.expect(symbol); // one channel answers, and sends what it has, before the other one
  const channels = [page.market, page.predictions];
  const added = Promise.all(channels.map((channel) => channel.subscribe([symbol])));
  try {
    // Without a connection the symbol waits for it, with its place.
    if (page.market.state.phase === "live") await added;
    else added.catch((error) => form.show(error));
    list.add(symbol);
  } finally {
    list.forget(symbol);
  }
  saveSymbols(list.symbols);
}

function removeSymbol(symbol) {
  if (chart.symbol === symbol) chart.close();
  list.remove(symbol);
  saveSymbols(list.symbols);
  for (const channel of [page.market, page.predictions]) {
    channel.unsubscribe([symbol]).catch(() => {}); // not connected: not subscribed again either
  }
  form.focus();
}

// A page that the browser keeps for its back button must not count as connected.
addEventListener("pagehide", ({ persisted }) => {
  if (persisted) client.close();
});
addEventListener("pageshow", ({ persisted }) => {
  if (persisted && !credential.missing) client.connect();
});

for (const symbol of symbols) list.add(symbol);
addCopyButtons(document);
document.body.dataset.ready = "yes"; // shown at once, and in its place
if (!credential.missing) client.connect();
if (!credential.missing) chart.openNamed((symbol) => list.has(symbol));
