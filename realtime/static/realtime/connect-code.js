// Ready code that connects to this server, for a channel, its symbols and a credential. Pure.

const UPDATE = {
  "market-data": { type: "market_data_update", js: "({ symbol, data }) => console.log(symbol, data.price)", py: "update.symbol, update.price" },
  predictions: { type: "prediction_update", js: "({ symbol, data }) => console.log(symbol, data.predicted_price)", py: "update.symbol, update.predicted_price" },
  alerts: { type: "alert", js: "({ data }) => console.log(data.severity, data.message)", py: "update.severity, update.message" },
};
const METHOD = { "market-data": "market_data", predictions: "predictions", alerts: "alerts" };

/**
 * What is shown for each language: { note, text }.
 * `about`: { channel, symbols, kind: "" | "key" | "token", secret, http, ws, sse, api, script }, of
 * which the last five are URLs of this server.
 */
export const LANGUAGES = { JavaScript, Python, websockets, curl: events, REST, wscat };

function JavaScript(about) {
  const options = {
    url: about.ws,
    channel: about.channel,
    ...(about.channel === "alerts" ? {} : { symbols: about.symbols }),
    ...(about.kind === "" ? {} : { token: about.secret }),
  };
  const { type, js } = UPDATE[about.channel];
  return {
    note: "In the console of a browser, or in a module of a page whose origin may connect. With npm: the package ara-realtime-client.",
    text: [
      `const { AraClient } = await import(${JSON.stringify(about.script)});`,
      "",
      `const client = new AraClient(${JSON.stringify(options, null, 4)});`,
      `client.on("${type}", ${js});`,
      'client.on("state", ({ phase, reason }) => console.log(phase, reason ?? ""));',
      "client.connect();",
    ].join("\n"),
  };
}

function Python(about) {
  const credential = { "": "", key: `, api_key=${quoted(about.secret)}`, token: `, token=${quoted(about.secret)}` };
  const symbols = about.channel === "alerts" ? "" : about.symbols.map(quoted).join(", ");
  return {
    note: "pip install ./clients/python (in the folder of ARA Realtime); it resumes, so that nothing is missed.",
    text: [
      "import asyncio",
      "",
      "from ara_client import Client",
      "",
      "",
      "async def main():",
      `    async with Client(${quoted(about.http)}${credential[about.kind]}) as client:`,
      `        async for update in client.${METHOD[about.channel]}(${symbols}):`,
      `            print(${UPDATE[about.channel].py}, flush=True)`,
      "",
      "",
      "asyncio.run(main())",
    ].join("\n"),
  };
}

function websockets(about) {
  const subscribes = about.channel !== "alerts";
  const send = `        await socket.send(json.dumps({"type": "subscribe", "symbols": ${JSON.stringify(about.symbols)}}))`;
  return {
    note: "pip install websockets; the protocol itself, for other libraries and languages.",
    text: [
      "import asyncio",
      "import json",
      "",
      "import websockets",
      "",
      `URL = ${quoted(`${about.ws}/${about.channel}`)}`,
      `HEADERS = ${about.kind === "" ? "{}" : `{"Authorization": ${quoted(`Bearer ${about.secret}`)}}`}`,
      "",
      "",
      "async def main():",
      "    async with websockets.connect(URL, additional_headers=HEADERS) as socket:",
      ...(subscribes ? [send] : []),
      "        async for text in socket:",
      "            message = json.loads(text)",
      '            if message["type"] == "ping":',
      `                await socket.send('{"type": "pong"}')`,
      "            else:",
      "                print(message, flush=True)",
      "",
      "",
      "asyncio.run(main())",
    ].join("\n"),
  };
}

function events(about) {
  const query = about.channel === "alerts" ? "" : `?symbols=${listed(about.symbols)}`;
  return {
    note: "Server-sent events: the same messages over plain HTTP.",
    text: `curl -N ${word(`${about.sse}/${about.channel}${query}`)}${header(about)}`,
  };
}

function REST(about) {
  const path = about.channel === "alerts" ? "streams/alerts/all" : `${about.channel}/latest?symbol=${listed(about.symbols)}`;
  return {
    note: "The newest updates, once, with the position from which a WebSocket goes on.",
    text: `curl ${word(`${about.api}${path}`)}${header(about)}`,
  };
}

function wscat(about) {
  const subscribe = JSON.stringify({ type: "subscribe", symbols: about.symbols });
  const rest = about.channel === "alerts" ? "" : ` -x ${word(subscribe)} -w 3600`;
  return {
    note: "npx wscat, for a look from a terminal.",
    text: `wscat -c ${word(`${about.ws}/${about.channel}`)}${header(about)}${rest}`,
  };
}

function header({ kind, secret }) {
  return kind === "" ? "" : ` -H ${word(`Authorization: Bearer ${secret}`)}`;
}

function listed(symbols) {
  return symbols.map(encodeURIComponent).join(",");
}

/** A text in Python. */
function quoted(text) {
  return JSON.stringify(text);
}

/** An argument of a shell; a symbol has no quotation mark, and neither has a credential. */
function word(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
