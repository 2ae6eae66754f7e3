"""Faults of a connection of the JavaScript client: each offset comes once, none is missing.

Each fault meets three clients at the same time: in Chromium, in Node with its own WebSocket, and in
Node with that of the package `ws`.
"""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests import npm
from tests.browsers import chromium
from tests.conftest import require_program
from tests.live import publish_to
from tests.patience import scaled
from tests.processes import ROOT, LiveServer, free_port
from tests.python_client.conftest import Publisher
from tests.python_client.proxy import Proxy

# One server and one browser for all of these.
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

WITNESS = ROOT / "tests" / "js" / "witness.mjs"
Message = dict[str, Any]
_numbers = itertools.count(1)
_TOKENS = """
import datetime as dt, json
from rest_framework_simplejwt.tokens import AccessToken
from tests import personas
tokens = [AccessToken.for_user(personas.alice()) for _ in range(2)]
tokens[0].set_exp(lifetime=dt.timedelta(seconds=15))  # far longer than a connect takes
print(json.dumps([str(token) for token in tokens]))
"""


@dataclass
class Witness:
    """What one client has reported."""

    name: str
    messages: list[Message] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    # Gives a client that is about to connect its tokens.
    give: Callable[[list[str]], Awaitable[None]] | None = None

    def report(self, message: Message) -> None:
        self.messages.append(message)
        if message["type"] == "state":
            self.phases.append(message["phase"])

    def of(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def offsets(self) -> list[int]:
        return [message["offset"] for message in self.of("market_data_update")]


@dataclass
class Witnesses:
    """The three clients, of one symbol."""

    symbol: str
    all: list[Witness]

    async def give(self, tokens: list[str]) -> None:
        for witness in self.all:
            assert witness.give is not None
            await witness.give(tokens)

    async def until(self, condition: Callable[[Witness], object], seconds: float = 30) -> None:
        deadline = time.monotonic() + scaled(seconds)
        for witness in self.all:
            while not condition(witness):
                last = witness.messages[-3:]
                assert time.monotonic() < deadline, f"{witness.name}: {witness.phases} {last}"
                await asyncio.sleep(0.02)

    async def have_all(self, count: int) -> None:
        """Every offset from the first one that was seen came, and came once."""
        await self.until(lambda witness: witness.offsets[-1:] == [count])
        for witness in self.all:
            first = witness.offsets[0]
            assert witness.offsets == list(range(first, count + 1)), witness.name
            assert witness.of("gap") == [], witness.name


Watch = Callable[..., Awaitable[Witnesses]]


@pytest.fixture(scope="module")
def server(uvicorn: LiveServer) -> LiveServer:
    return uvicorn


@pytest.fixture(autouse=True)
def _publishing(server: LiveServer, settings: Any) -> None:
    publish_to(server, settings)


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(server: LiveServer) -> AsyncIterator[Proxy]:
    """In front of the server, not listening yet."""
    proxy = Proxy(server.port)
    yield proxy
    await proxy.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def watch(browser: Browser, server: LiveServer) -> AsyncIterator[Watch]:
    """A function that starts the three clients at a URL."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(url: str, *, known: bool = False) -> Witnesses:
            symbol = f"JS{next(_numbers)}"
            options = {"url": f"{url}/ws", "symbol": symbol, "known": known}
            ws = npm.node_modules() / "ws" / "wrapper.mjs"
            witnesses = [Witness("Chromium"), Witness("Node"), Witness("Node with ws")]
            await asyncio.gather(
                stack.enter_async_context(in_page(browser, server, options, witnesses[0])),
                stack.enter_async_context(in_node("", options, witnesses[1])),
                stack.enter_async_context(in_node(str(ws), options, witnesses[2])),
            )
            return Witnesses(symbol, witnesses)

        yield start


@contextlib.asynccontextmanager
async def in_page(
    browser: Browser, server: LiveServer, options: Message, witness: Witness
) -> AsyncIterator[Page]:
    page = await browser.new_page()
    await page.expose_function("report", witness.report)
    await page.goto(f"{server.http}/healthz")
    script = """async ([source, options]) => {
        const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
        const { watch } = await import(url);
        const { AraClient } = await import("/static/realtime/client/index.js");
        const given = new Promise((resolve) => { window.give = resolve; });
        const readTokens = options.known ? () => given : undefined;
        const report = (message) => window.report(message);
        window.client = watch(AraClient, { ...options, readTokens }, report);
    }"""
    await page.evaluate(script, [WITNESS.read_text(), options])
    witness.give = lambda tokens: page.evaluate("(tokens) => window.give(tokens)", tokens)
    yield page
    await page.close()


@contextlib.asynccontextmanager
async def in_node(ws: str, options: Message, witness: Witness) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        require_program("node"), "--experimental-websocket", str(WITNESS), ws, json.dumps(options),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    stdin = process.stdin

    async def give(tokens: list[str]) -> None:
        stdin.write(json.dumps(tokens).encode() + b"\n")
        await stdin.drain()

    witness.give = give
    reading = asyncio.create_task(_read(process.stdout, witness))
    yield
    with contextlib.suppress(ProcessLookupError):  # it ends when its client has nothing left to do
        process.kill()
    await process.wait()
    await reading


async def _read(lines: asyncio.StreamReader, witness: Witness) -> None:
    async for line in lines:
        witness.report(json.loads(line))


def live_again(witness: Witness) -> bool:
    return witness.phases.count("live") >= 2


async def test_a_token_is_renewed_and_the_next_connection_uses_the_new_one(
    server: LiveServer, proxy: Proxy, watch: Watch
) -> None:
    await proxy.open()
    watched = await watch(proxy.url, known=True)
    # The time of a token begins when every client has started, and asks for it.
    await watched.until(lambda witness: "connecting" in witness.phases)
    await watched.give(json.loads(await asyncio.to_thread(server.shell, _TOKENS)))
    publisher = Publisher(watched.symbol)
    await watched.until(lambda witness: "live" in witness.phases)
    await watched.until(lambda witness: witness.of("authenticated"))
    proxy.reset()
    await watched.until(live_again)
    await watched.have_all(await publisher.stop())
    for witness in watched.all:
        assert len(witness.of("token_expiring")) == 1
        live = [state for state in witness.of("state") if state["phase"] == "live"]
        assert [state["authenticated"] for state in live] == [True, True]


async def test_a_port_that_refuses_is_tried_until_it_listens(proxy: Proxy, watch: Watch) -> None:
    watched = await watch(proxy.url)
    publisher = Publisher(watched.symbol)
    await watched.until(lambda witness: witness.phases.count("waiting") >= 2)
    await proxy.open()
    await watched.until(lambda witness: witness.offsets)
    await watched.have_all(await publisher.stop())


async def test_a_network_that_is_cut_is_noticed_within_ten_seconds(
    proxy: Proxy, watch: Watch
) -> None:
    await proxy.open()
    watched = await watch(proxy.url)
    publisher = Publisher(watched.symbol)
    await watched.until(lambda witness: len(witness.offsets) > 3)
    proxy.cut()
    await watched.until(lambda witness: "waiting" in witness.phases, seconds=10)
    await watched.until(live_again)
    await watched.have_all(await publisher.stop())


async def test_a_server_that_is_killed_costs_no_update(server: LiveServer, watch: Watch) -> None:
    watched = await watch(server.http)
    publisher = Publisher(watched.symbol)
    await watched.until(lambda witness: len(witness.offsets) > 3)
    await asyncio.to_thread(server.kill)
    await watched.until(lambda witness: "waiting" in witness.phases)
    await asyncio.to_thread(server.restart)
    await watched.until(live_again)
    await watched.have_all(await publisher.stop())


async def test_a_server_that_is_drained_costs_no_update(server: LiveServer, watch: Watch) -> None:
    watched = await watch(server.http)
    publisher = Publisher(watched.symbol)
    await watched.until(lambda witness: len(witness.offsets) > 3)
    await asyncio.to_thread(server.restart)
    await watched.until(live_again)
    await watched.have_all(await publisher.stop())
    for witness in watched.all:
        assert next(state["code"] for state in witness.of("state") if "code" in state) == 1012


async def test_a_token_that_stays_wrong_is_tried_twice(server: LiveServer, watch: Watch) -> None:
    watched = await watch(server.http, known=True)
    await watched.give(["ara_0000.wrong"])
    await watched.until(lambda witness: witness.phases[-1:] == ["closed"])
    for witness in watched.all:
        assert witness.phases.count("connecting") == 2
        assert witness.of("state")[-1]["code"] == 4401


async def test_a_browser_that_goes_offline_is_noticed_and_misses_nothing(
    browser: Browser, server: LiveServer
) -> None:
    witness = Witness("Chromium")
    watched = Witnesses(f"JS{next(_numbers)}", [witness])
    options = {"url": f"{server.http}/ws", "symbol": watched.symbol, "known": False}
    async with in_page(browser, server, options, witness) as page:
        publisher = Publisher(watched.symbol)
        await watched.until(lambda witness: len(witness.offsets) > 3)
        await page.context.set_offline(True)
        await watched.until(lambda witness: "waiting" in witness.phases, seconds=10)
        await page.context.set_offline(False)
        await watched.until(live_again)
        await watched.have_all(await publisher.stop())


@pytest.mark.parametrize("event", ["online", "visibilitychange"])
async def test_a_page_that_is_back_does_not_wait_any_longer(
    event: str, browser: Browser, server: LiveServer
) -> None:
    witness = Witness("Chromium")
    options = {"url": f"ws://127.0.0.1:{free_port()}", "symbol": "AAPL", "known": False}
    async with in_page(browser, server, options, witness) as page:
        script = """async (event) => {
            while (client.state.phase !== "waiting") await new Promise((done) => setTimeout(done));
            const target = event === "online" ? window : document;
            target.dispatchEvent(new Event(event, { bubbles: true }));
            return client.state.phase;
        }"""
        assert await page.evaluate(script, event) == "connecting"
