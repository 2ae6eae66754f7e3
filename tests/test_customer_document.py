"""The customer's document, promise by promise: each docstring quotes the one that is tested.

The examples run as they are written. Replaced are only YOUR_TOKEN, the port in `localhost:8000`,
and the two import paths of Python.
"""

import ast
import asyncio
import contextlib
import itertools
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, WebSocket

from realtime import protocol
from realtime.broadcast import (
    broadcast_many,
    broadcast_market_data,
    broadcast_prediction_update,
    market_data_update,
    send_alert,
)
from tests import wire
from tests.browsers import chromium
from tests.clients import Socket, wait_for
from tests.live import create_people, publish_to
from tests.patience import PATIENCE, START_SECONDS, scaled
from tests.processes import LiveServer, free_port, process_environment

DOCUMENT = (Path(__file__).parent / "customer_document.md").read_text()
NEW_IMPORTS = {
    "ara.api.websocket.handlers": "realtime.broadcast",
    "ara.api.websocket.connection_manager": "realtime.connections",
}

# One browser for all of these.
pytestmark = pytest.mark.asyncio(loop_scope="module")

_numbers = itertools.count(1)


def code_blocks(text: str) -> list[tuple[str, str, str]]:
    """Heading, language and code of every fenced block."""
    heading, blocks = "", []
    for match in re.finditer(r"^#{2,3} ([^\n]+)$|^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        if match[1]:
            heading = match[1]
        else:
            blocks.append((heading, match[2], match[3]))
    return blocks


def example(heading: str, language: str = "javascript") -> str:
    (code,) = [code for *where, code in code_blocks(DOCUMENT) if where == [heading, language]]
    return code


def live(code: str, server: LiveServer, token: str = "") -> str:
    """The code with the port of the server and a real token."""
    return code.replace("localhost:8000", f"localhost:{server.port}").replace("YOUR_TOKEN", token)


PREDICTIONS = example("1. Predictions WebSocket")
MARKET_DATA = example("2. Market Data WebSocket", "python")
ALERTS = example("3. Alerts WebSocket")
HEARTBEAT = example("Heartbeat")
RECONNECTION = example("Reconnection")
BROADCASTING = example("Broadcasting Updates", "python")
STATISTICS = example("Connection Statistics", "python")
ERROR_HANDLING = example("Error Handling")
COMPLETE_CLIENT = example("Example: Complete Client")
AUTHENTICATION = [code for heading, _, code in code_blocks(DOCUMENT) if heading == "Authentication"]


def unique(**data: Any) -> dict[str, Any]:
    """Data that no other test has published: the servers live longer than one test."""
    return {**data, "number": next(_numbers)}


@pytest.fixture(scope="session")
def people(server: LiveServer) -> SimpleNamespace:
    return create_people(server)


@pytest.fixture
def publishing(server: LiveServer, settings: Any) -> None:
    """`realtime.broadcast` in this process reaches the clients of the server."""
    publish_to(server, settings)


@pytest.fixture(scope="module")
def quick_server(module_servers: Callable[..., LiveServer]) -> LiveServer:
    """One whose heart beats so fast that a test can wait for it."""
    return module_servers(REALTIME_HEARTBEAT_INTERVAL="0.4")


@pytest.fixture(scope="module")
def quick_people(quick_server: LiveServer) -> SimpleNamespace:
    """They are in the database of every server of this module."""
    return create_people(quick_server)


# The browser --------------------------------------------------------------------------------

_RECORD = """
window.lines = [];
for (const level of ["log", "error"]) {
    const original = console[level];
    console[level] = (...values) => {
        lines.push([level, ...values.map((value) => JSON.parse(JSON.stringify(value) ?? "null"))]);
        original.apply(console, values);
    };
}
window.showNotification = (data) => notifications.push(data);
window.notifications = [];
"""
_FIND = """
([level, text, wanted]) => lines.find((line) => line[0] === level && line[1] === text
    && Object.entries(wanted).every(([key, value]) => line[2]?.[key] === value))
"""


class CustomerPage:
    """A page with one of the examples in it, its console lines and its sockets."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.sockets: list[WebSocket] = []
        self.received: list[dict[str, Any]] = []
        self.sent: list[str | bytes] = []
        page.set_default_timeout(scaled(30_000))
        page.on("websocket", self._on_socket)

    def _on_socket(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framereceived", lambda frame: self.received.append(wire.checked(frame)))
        socket.on("framesent", lambda frame: self.sent.append(frame))

    async def run(self, code: str) -> None:
        """Load an empty page and run the code in it, as a script."""
        await self.page.goto(self.address)
        await self.page.evaluate(_RECORD)
        await self.page.add_script_tag(content=code)

    async def line(self, text: str, level: str = "log", **fields: Any) -> Any:
        """What the console shows beside this text; waits until it has these fields."""
        handle = await self.page.wait_for_function(_FIND, arg=[level, text, fields])
        line = await handle.json_value()
        return line[2] if len(line) > 2 else None

    async def lines(self, text: str) -> list[Any]:
        found: list[Any] = await self.page.evaluate("t => lines.filter((l) => l[1] === t)", text)
        return found

    async def message(self, kind: str, **fields: Any) -> dict[str, Any]:
        """A message that came over one of the page's sockets."""

        async def find() -> dict[str, Any] | None:
            for message in self.received:
                if message["type"] == kind and message.items() >= fields.items():
                    return message
            return None

        found: dict[str, Any] = await wait_for(find)
        return found

    async def connected(self, count: int) -> None:
        """Wait until the page has been connected so many times."""

        async def enough() -> bool:
            return [message["type"] for message in self.received].count("connected") >= count

        await wait_for(enough)

    async def pongs(self, count: int) -> None:
        async def enough() -> bool:
            return self.sent.count('{"type":"pong"}') >= count

        await wait_for(enough)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium("--disable-gpu") as browser:
        yield browser


NewPage = Callable[[], Awaitable[CustomerPage]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty_page() -> AsyncIterator[str]:
    """The address of an empty page, on a web server of the customer's own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n"
                b"Connection: close\r\n\r\n<!doctype html>"
            )
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}/"


@pytest_asyncio.fixture(loop_scope="module")
async def new_page(browser: Browser, empty_page: str) -> AsyncIterator[NewPage]:
    pages: list[Page] = []

    async def new_page() -> CustomerPage:
        pages.append(await browser.new_page())
        return CustomerPage(pages[-1], empty_page)

    yield new_page
    for page in pages:
        await page.close()


# Python programs ----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def program(code: str, **environment: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Run code as a program of its own. Gives a function that returns its next line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-W", "error", "-c", code,
        stdout=subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip
    assert process.stdout is not None
    stdout = process.stdout

    async def line() -> str:
        return (await asyncio.wait_for(stdout.readline(), PATIENCE)).decode().rstrip()

    try:
        yield line
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


# Endpoints ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("publishing")
async def test_the_predictions_example(
    server: LiveServer, people: SimpleNamespace, new_page: NewPage
) -> None:
    """Receive real-time prediction updates for a specific symbol."""
    page = await new_page()
    await page.run(live(PREDICTIONS, server, people.token))
    await page.line("Connected to predictions stream")
    connected = await page.line("Received:", type="connected")
    assert (connected["channel"], connected["symbol"]) == ("predictions", "AAPL")
    assert connected["authenticated"] is True
    data = unique(predicted_price=150.25, confidence=0.85)
    await asyncio.to_thread(broadcast_prediction_update, "AAPL", data)
    assert await page.line("New prediction:", number=data["number"]) == data
    await page.page.evaluate("ws.close()")
    await page.line("Disconnected from predictions stream")
    assert await page.lines("WebSocket error:") == []


@pytest.mark.usefixtures("publishing")
async def test_the_market_data_example(server: LiveServer, people: SimpleNamespace) -> None:
    """Stream real-time market data for a specific symbol."""
    async with program(live(MARKET_DATA, server, people.key)) as line:
        assert await line() == "Connected to market data stream"
        for price in (149.5, 150.0):
            data = unique(price=price, volume=1000000)
            await asyncio.to_thread(broadcast_market_data, "AAPL", data)
            await _until(line, f"Price update: {data}")


async def _until(line: Callable[[], Awaitable[str]], wanted: str) -> None:
    """Read lines up to this one; before it there may be the snapshot of an earlier update."""
    while (text := await line()) != wanted:
        assert text.startswith("Price update: "), text


@pytest.mark.usefixtures("publishing")
async def test_the_alerts_example(
    server: LiveServer, people: SimpleNamespace, new_page: NewPage
) -> None:
    """Receive real-time alert notifications."""
    page = await new_page()
    await page.run(live(ALERTS, server, people.token))
    await page.message("connected", channel="alerts", authenticated=True)
    alerts = []
    for user_id in (None, people.alice_id):
        alerts.append(unique(type="price_alert", message="Price exceeded $150", severity="high"))
        await asyncio.to_thread(send_alert, alerts[-1], user_id)
        assert await page.line("Alert:", number=alerts[-1]["number"]) == alerts[-1]
    assert await page.page.evaluate("notifications") == alerts


@pytest.mark.parametrize(
    ("endpoint", "channel"),
    [
        ("ws://host:port/ws/predictions/{symbol}?token=YOUR_TOKEN", "predictions"),
        ("ws://host:port/ws/market-data/{symbol}?token=YOUR_TOKEN", "market-data"),
        ("ws://host:port/ws/alerts?token=YOUR_TOKEN", "alerts"),
    ],
)
async def test_the_endpoints(
    server: LiveServer, people: SimpleNamespace, endpoint: str, channel: str
) -> None:
    """This module provides WebSocket endpoints for real-time updates"""
    assert f"**Endpoint**: `{endpoint}`" in DOCUMENT
    url = endpoint.replace("{symbol}", "AAPL").replace("YOUR_TOKEN", people.token)
    connected = await _first_message(url, server)
    assert (connected["type"], connected["channel"]) == ("connected", channel)
    assert connected["authenticated"] is True


async def _first_message(url: str, server: LiveServer) -> dict[str, Any]:
    client = await Socket.open(url.replace("host:port", f"localhost:{server.port}"))
    message = await client.next()
    await client.leave()
    return message


async def test_the_types_of_messages() -> None:
    """**Message Types (Server → Client)**:"""
    from_server: set[str] = set()
    from_client: set[str] = set()
    for direction, listed in re.findall(
        r"\*\*Message Types \((Server|Client) → \w+\)\*\*:\n((?:- .*\n)+)", DOCUMENT
    ):
        names = re.findall(r"^- `(\w+)`", listed, re.M)
        (from_server if direction == "Server" else from_client).update(names)
    assert from_server == {
        "connected", "ping", "prediction_update", "market_data_update", "alert", "error",
    }  # fmt: skip
    assert from_server <= wire.SERVER_MESSAGES.keys()
    assert from_client == {"pong", "subscribe", "request_prediction"}
    assert from_client <= set(protocol.CLIENT_TYPES)


@pytest.mark.usefixtures("publishing")
async def test_an_immediate_prediction(
    server: LiveServer, people: SimpleNamespace, new_page: NewPage
) -> None:
    """- `request_prediction`: Request immediate prediction"""
    prices = [market_data_update("AAPL", {"price": 100 + n % 7}) for n in range(60)]
    await asyncio.to_thread(broadcast_many, prices)
    page = await new_page()
    await page.run(live(PREDICTIONS, server, people.key))
    await page.line("Received:", type="connected")
    await page.page.evaluate("ws.send(JSON.stringify({ type: 'request_prediction' }))")
    requested = await page.line("Received:", type="prediction_requested")
    await page.line("Received:", request_id=requested["request_id"], type="prediction_update")
    prediction = await page.line("New prediction:", horizon=1)
    assert prediction["lower_bound"] < prediction["predicted_price"] < prediction["upper_bound"]


# Connection management ----------------------------------------------------------------------


async def test_a_ping_every_thirty_seconds(server: LiveServer) -> None:
    """The server sends periodic `ping` messages (default: every 30 seconds)."""
    connected = await _first_message("ws://host:port/ws/alerts", server)
    assert connected["heartbeat_interval"] == 30


async def test_pongs_keep_every_example_alive(
    quick_server: LiveServer, quick_people: SimpleNamespace, settings: Any, new_page: NewPage
) -> None:
    """Clients should respond with `pong` messages to keep the connection alive."""
    publish_to(quick_server, settings)
    open_socket = f"const ws = new WebSocket('ws://localhost:{quick_server.port}/ws/alerts');\n"
    pages = []
    for code in (PREDICTIONS, ALERTS, COMPLETE_CLIENT, open_socket + HEARTBEAT):
        pages.append(await new_page())
        await pages[-1].run(live(code, quick_server, quick_people.token))
    async with program(live(MARKET_DATA, quick_server, quick_people.token)) as line:
        assert await line() == "Connected to market data stream"
        # Without a pong the third heartbeat would have closed each of them.
        for page in pages:
            await page.pongs(5)
        for page in pages:
            (socket,) = page.sockets
            assert not socket.is_closed()
        await asyncio.to_thread(broadcast_market_data, "AAPL", {"price": 1})
        assert await line() == "Price update: {'price': 1}"


async def test_a_client_that_answers_no_ping_is_not_kept(quick_server: LiveServer) -> None:
    """1. **Always respond to pings**: Keep the connection alive by responding to heartbeat pings"""
    client = await Socket.open(f"{quick_server.ws}/ws/alerts")
    assert await client.closed() == 4504
    assert client.of_type("ping")


@pytest.mark.slow
async def test_the_examples_that_reconnect(
    module_servers: Callable[..., LiveServer],
    quick_people: SimpleNamespace,
    settings: Any,
    new_page: NewPage,
) -> None:
    """Implement automatic reconnection logic in your client:"""
    server = module_servers()
    publish_to(server, settings)
    simple, complete = await new_page(), await new_page()
    await simple.run(live(RECONNECTION, server))
    await complete.run(live(COMPLETE_CLIENT, server, quick_people.token))
    await simple.connected(1)
    await complete.connected(1)
    await asyncio.to_thread(_restart, server)
    await simple.line("Connection closed, reconnecting in 5 seconds...")
    await complete.line("Disconnected, reconnecting...")
    for page in (simple, complete):
        await page.connected(2)
    data = unique(predicted_price=1)
    await asyncio.to_thread(broadcast_prediction_update, "AAPL", data)
    assert await complete.line("New prediction:", number=data["number"]) == data
    await simple.message("prediction_update", data=data)


def _restart(server: LiveServer) -> None:
    """Stop the server and start it again on the same port."""
    server.stop()
    with server.log_path.open("ab") as log:
        server.process = subprocess.Popen(
            server.process.args, stdout=log, stderr=subprocess.STDOUT,
            env=process_environment(server.directory, server.environment),
        )  # fmt: skip
    for _ in range(int(START_SECONDS * 20)):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.http}/healthz"):
            return
        if server.process.poll() is not None:
            break
        # The port is closed until the server is up: there is nothing to wait on.
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.05)
    raise AssertionError(server.log)


# Authentication -----------------------------------------------------------------------------


async def test_a_json_web_token_in_the_query(server: LiveServer, people: SimpleNamespace) -> None:
    """WebSocket connections support optional authentication via query parameter:"""
    url = AUTHENTICATION[0].strip().replace("YOUR_JWT_TOKEN", people.token)
    assert (await _first_message(url, server))["authenticated"] is True


async def test_an_api_key_in_the_query(server: LiveServer, people: SimpleNamespace) -> None:
    """Or with API key:"""
    url = AUTHENTICATION[1].strip().replace("YOUR_API_KEY", people.key)
    assert (await _first_message(url, server))["authenticated"] is True


async def test_authentication_is_optional(server: LiveServer) -> None:
    """- **Authentication**: Optional JWT or API key authentication"""
    connected = await _first_message("ws://host:port/ws/predictions/AAPL", server)
    assert (connected["type"], connected["authenticated"]) == ("connected", False)


async def test_a_credential_that_is_none_is_told(server: LiveServer, new_page: NewPage) -> None:
    """4. **Use authentication**: Protect sensitive data with JWT or API key authentication"""
    page = await new_page()
    await page.run(live(PREDICTIONS, server, "YOUR_TOKEN"))
    error = await page.line("Received:", type="error")
    assert error["code"] == "invalid_token"
    await page.line("Disconnected from predictions stream")


# Broadcasting -------------------------------------------------------------------------------

_RUN_SNIPPET = """
import ast, asyncio, sys
import django
django.setup()
code = compile(sys.argv[1], "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
asyncio.run(eval(code, {}))
"""


def with_new_imports(code: str) -> str:
    for old, new in NEW_IMPORTS.items():
        code = code.replace(old, new)
    return code


async def test_the_broadcasting_example(server: LiveServer, people: SimpleNamespace) -> None:
    """To broadcast updates to connected clients (from your application code):"""
    clients = {
        path: await Socket.open(f"{server.ws}{path}?token={people.token}")
        for path in ("/ws/predictions/AAPL", "/ws/market-data/AAPL", "/ws/alerts")
    }
    for client in clients.values():
        await client.until("connected")
    await asyncio.to_thread(_run_snippet, with_new_imports(BROADCASTING), server)
    messages = {
        path: await clients[path].until(kind, data=_argument(BROADCASTING, argument))
        for path, kind, argument in (
            ("/ws/predictions/AAPL", "prediction_update", "prediction_data"),
            ("/ws/market-data/AAPL", "market_data_update", "market_data"),
            ("/ws/alerts", "alert", "alert_data"),
        )
    }
    assert messages["/ws/predictions/AAPL"]["symbol"] == "AAPL"
    assert messages["/ws/market-data/AAPL"]["symbol"] == "AAPL"
    assert messages["/ws/alerts"]["audience"] == "all"
    for client in clients.values():
        await client.leave()


def _run_snippet(code: str, server: LiveServer) -> None:
    subprocess.run(
        [sys.executable, "-c", _RUN_SNIPPET, code],
        env=process_environment(
            server.directory,
            {
                **server.environment,
                "DJANGO_SETTINGS_MODULE": "ara_project.settings",
                "PYTHONWARNINGS": "error::RuntimeWarning",
            },
        ),
        check=True, timeout=START_SECONDS,
    )  # fmt: skip


def _argument(code: str, name: str) -> Any:
    """The value of a keyword argument in the code."""
    tree = compile(code, "", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    (value,) = [k.value for k in ast.walk(tree) if isinstance(k, ast.keyword) and k.arg == name]
    return ast.literal_eval(value)


# Statistics ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("publishing")
async def test_the_statistics_example(server: LiveServer) -> None:
    """Get connection statistics:"""
    await wait_for(lambda: _statistics(total=0, predictions_count=0, channels=[]))
    clients = [
        await Socket.open(f"{server.ws}{path}")
        for path in (
            "/ws/predictions/AAPL",
            "/ws/predictions",
            "/ws/market-data/AAPL",
            "/ws/alerts",
        )
    ]
    channels = ["alerts", "market-data", "predictions"]
    await wait_for(lambda: _statistics(total=4, predictions_count=2, channels=channels))
    for client in clients[:3]:
        await client.leave()
    await wait_for(lambda: _statistics(total=1, predictions_count=0, channels=["alerts"]))
    await clients[3].leave()


@pytest.mark.usefixtures("publishing")
async def test_a_closed_connection_counts_no_more(server: LiveServer) -> None:
    """6. **Clean up**: Close connections when no longer needed"""
    client = await Socket.open(f"{server.ws}/ws/alerts")
    await wait_for(lambda: _statistics(total=1))
    await client.leave()
    await wait_for(lambda: _statistics(total=0))


async def _statistics(**expected: Any) -> bool:
    """Does the example, run in this process, find these numbers?"""
    names: dict[str, Any] = {}
    await asyncio.to_thread(exec, with_new_imports(STATISTICS), names)
    names["channels"] = sorted(names["channels"])
    return names.items() >= expected.items()


# Errors -------------------------------------------------------------------------------------


async def test_an_error_of_the_server_is_shown(server: LiveServer, new_page: NewPage) -> None:
    """Handle errors gracefully:"""
    open_socket = f"const ws = new WebSocket('ws://localhost:{server.port}/ws/predictions/AAPL');\n"
    page = await new_page()
    await page.run(open_socket + ERROR_HANDLING)
    await page.message("connected")
    await page.page.evaluate("ws.send('nonsense')")
    error = await page.message("error", code="invalid_json")
    assert await page.line("Server error:", "error") == error["message"]
    assert await page.page.evaluate("ws.readyState === WebSocket.OPEN")


async def test_an_error_of_the_network_is_shown(server: LiveServer, new_page: NewPage) -> None:
    """3. **Handle errors**: Implement proper error handling for network issues"""
    page = await new_page()
    nobody = PREDICTIONS.replace("localhost:8000", f"localhost:{free_port()}")
    await page.run(nobody)
    await page.line("WebSocket error:", "error")
    await page.line("Disconnected from predictions stream")


# The complete client ------------------------------------------------------------------------


@pytest.mark.usefixtures("publishing")
async def test_the_complete_client(
    server: LiveServer, people: SimpleNamespace, new_page: NewPage
) -> None:
    """## Example: Complete Client"""
    page = await new_page()
    await page.run(live(COMPLETE_CLIENT, server, people.key))
    await page.line("Connected")
    data = unique(predicted_price=150.25)
    await asyncio.to_thread(broadcast_prediction_update, "AAPL", data)
    assert await page.line("New prediction:", number=data["number"]) == data
    await page.page.evaluate("client.ws.send('nonsense')")
    assert "JSON" in await page.line("Server error:", "error")
    await page.page.evaluate("client.disconnect()")
    await page.line("Disconnected, reconnecting...")


@pytest.mark.usefixtures("publishing")
async def test_the_complete_client_changes_its_symbol(
    server: LiveServer, people: SimpleNamespace, new_page: NewPage
) -> None:
    """- `subscribe`: Change symbol subscription"""
    page = await new_page()
    await page.run(live(COMPLETE_CLIENT, server, people.token))
    await page.message("connected", symbol="AAPL")
    await page.page.evaluate("client.subscribe('MSFT')")
    await page.message("subscribed", symbol="MSFT", symbols=["MSFT"])
    unwanted, wanted = unique(of="AAPL"), unique(of="MSFT")
    await asyncio.to_thread(broadcast_prediction_update, "AAPL", unwanted)
    await asyncio.to_thread(broadcast_prediction_update, "MSFT", wanted)
    assert await page.line("New prediction:", number=wanted["number"]) == wanted
    assert unwanted not in [line[2] for line in await page.lines("New prediction:")]


# The document itself ------------------------------------------------------------------------


async def test_every_example_runs_in_a_test() -> None:
    """# WebSocket Real-Time Updates"""
    run = [PREDICTIONS, MARKET_DATA, ALERTS, HEARTBEAT, RECONNECTION, *AUTHENTICATION]
    run += [BROADCASTING, STATISTICS, ERROR_HANDLING, COMPLETE_CLIENT]
    assert [code for *_, code in code_blocks(DOCUMENT)] == run


async def test_every_promise_is_quoted_from_the_document() -> None:
    """## Features"""
    tests = {name: value for name, value in globals().items() if name.startswith("test_")}
    for name, function in tests.items():
        assert function.__doc__ in DOCUMENT, name
