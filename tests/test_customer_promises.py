"""The customer's document beside its examples: the promises that are kept by several parts at once.

Each docstring quotes a promise; the last test finds those that no test here or in
test_customer_document.py quotes.
"""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, WebSocketRoute

from realtime.broadcast import broadcast_market_data
from tests import test_customer_document as examples
from tests.browsers import chromium
from tests.clients import Socket
from tests.documents import section
from tests.live import create_people, publish_to
from tests.processes import ROOT, LiveServer, process_environment

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., LiveServer]) -> LiveServer:
    return module_servers()


@pytest.fixture(scope="module")
def people(server: LiveServer) -> SimpleNamespace:
    return create_people(server)


@pytest.fixture
def publishing(server: LiveServer, settings: Any) -> None:
    publish_to(server, settings)


@pytest_asyncio.fixture(loop_scope="module")
async def page(server: LiveServer) -> AsyncIterator[Page]:
    """A page of the server's origin with nothing in it."""
    async with chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"http://localhost:{server.port}/healthz")
        yield page


async def test_a_new_prediction_notifies(server: LiveServer) -> None:
    """- **Real-time prediction updates**: Get notified when new predictions are available"""
    client = await Socket.open(f"{server.ws}/ws/predictions/AAPL")
    await client.until("connected")
    data = '{"predicted_price": 150.25}'
    await asyncio.to_thread(server.manage, "broadcast_prediction", "--record", "AAPL", data)
    update = await client.until("prediction_update")
    assert update["data"]["predicted_price"] == 150.25
    assert update["data"]["prediction_id"]
    await client.leave()


@pytest.mark.usefixtures("publishing")
async def test_market_data_arrives_in_order_and_whole(server: LiveServer) -> None:
    """- **Market data streaming**: Stream live price and volume data"""
    client = await Socket.open(f"{server.ws}/ws/market-data/MSFT")
    await client.until("connected")
    ticks = [{"price": 100 + n / 4, "volume": 1000 * n} for n in range(50)]
    for tick in ticks:
        await asyncio.to_thread(broadcast_market_data, "MSFT", tick)
    received = [(await client.until("market_data_update"))["data"] for _ in ticks]
    assert received == ticks
    await client.leave()


@pytest.mark.usefixtures("publishing")
async def test_a_configured_condition_alerts(
    server: LiveServer, people: SimpleNamespace, page: Page
) -> None:
    """- **Alert notifications**: Receive instant alerts for configured conditions"""
    rule = {"symbol": "IBM", "condition": "above", "threshold": 150}
    request = json.dumps({"type": "configure_alerts", "config": {"rules": [rule]}})
    async with beside(server, "run_alerts"):
        await page.evaluate(
            "() => { window.shown = []; window.showNotification = (data) => shown.push(data); }"
        )
        await page.add_script_tag(content=examples.live(examples.ALERTS, server, people.token))
        await page.wait_for_function("ws.readyState === WebSocket.OPEN")
        async with page.expect_console_message(lambda message: "IBM: price above" in message.text):
            await page.evaluate("text => ws.send(text)", request)
            await asyncio.to_thread(_publish_until_the_rule_is_known, server, people)
    (alert,) = await page.evaluate("shown")
    assert (alert["symbol"], alert["message"]) == ("IBM", "IBM: price above 150")


def _publish_until_the_rule_is_known(server: LiveServer, people: SimpleNamespace) -> None:
    """It is read by another process, and what was published before it does not count."""
    request = urllib.request.Request(
        f"{server.http}/api/v1/alerts", headers={"Authorization": f"Bearer {people.token}"}
    )
    for _ in range(300):
        broadcast_market_data("IBM", {"price": 151})
        with urllib.request.urlopen(request) as answer:
            if json.load(answer)["results"]:
                return


@contextlib.asynccontextmanager
async def beside(server: LiveServer, command: str) -> AsyncIterator[None]:
    """A management command that runs until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", command,
        cwd=ROOT, env=process_environment(server.directory, server.environment),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


_READY_CLIENT = """
async () => {
    const { AraClient } = await import("/static/realtime/ara-client.js");
    const client = new AraClient({ channel: "market-data", symbols: ["GOOG"] });
    window.prices = [];
    client.addEventListener("state", (event) => { window.phase = event.detail.phase; });
    client.addEventListener("market_data_update", (event) => prices.push(event.detail.data.price));
    client.connect();
}
"""


@pytest.mark.usefixtures("publishing")
async def test_the_ready_client_reconnects_and_misses_nothing(page: Page) -> None:
    """- **Connection management**: Automatic heartbeat and reconnection handling"""
    routes: list[WebSocketRoute] = []
    network = asyncio.Event()
    network.set()

    async def through(route: WebSocketRoute) -> None:
        await network.wait()
        route.connect_to_server()
        routes.append(route)

    await page.route_web_socket(re.compile("/ws/"), through)
    await page.evaluate(_READY_CLIENT)
    await page.wait_for_function("phase === 'live'")
    await asyncio.to_thread(broadcast_market_data, "GOOG", {"price": 1})
    await page.wait_for_function("prices.join() === '1'")
    network.clear()
    await routes[0].close()
    for number in (2, 3, 4):
        await asyncio.to_thread(broadcast_market_data, "GOOG", {"price": number})
    network.set()
    await page.wait_for_function("prices.join() === '1,2,3,4'")
    assert len(routes) == 2


async def test_too_many_connections_of_a_key_are_refused(
    server: LiveServer, people: SimpleNamespace
) -> None:
    """5. **Limit subscriptions**: Don't open too many concurrent connections"""
    made = server.manage("create_api_key", "alice", "one", "--max-connections", "1", "--json")
    url = f"{server.ws}/ws/alerts?token={json.loads(made)['secret']}"
    first = await Socket.open(url)
    await first.until("connected")
    second = await Socket.open(url)
    error = await second.until("error", code="connection_limit")
    assert error["retry_after_ms"] > 0
    assert await second.closed() == 4429
    await first.leave()


async def test_what_to_see_also_is_there(server: LiveServer) -> None:
    """## See Also"""
    assert section("Webhooks")
    assert section("Authentication")
    for path in ("/api/v1/docs", "/api/v1/schema"):
        with await asyncio.to_thread(urllib.request.urlopen, f"{server.http}{path}") as answer:
            assert answer.status == 200


# What a test keeps beside the promise that it quotes.
_ALSO = {
    "- `connected`: Connection confirmation": examples.test_the_endpoints,
    "- `ping`: Heartbeat ping (respond with `pong`)": examples.test_pongs_keep_every_example_alive,
    "- `ping`: Heartbeat ping": examples.test_pongs_keep_every_example_alive,
    "- `prediction_update`: New prediction available": examples.test_the_predictions_example,
    "- `market_data_update`: New market data": examples.test_the_market_data_example,
    "- `alert`: New alert notification": examples.test_the_alerts_example,
    "- `error`: Error message": examples.test_an_error_of_the_server_is_shown,
    "- `pong`: Heartbeat response": examples.test_pongs_keep_every_example_alive,
    "2. **Implement reconnection**: Handle disconnections gracefully with automatic reconnection": (
        examples.test_the_examples_that_reconnect
    ),
    "- [Webhook System](../webhooks/README.md) - For HTTP callbacks": (
        test_what_to_see_also_is_there
    ),
    "- [API Documentation](../README.md) - REST API reference": test_what_to_see_also_is_there,
    "- [Authentication](../auth/README.md) - Authentication guide": test_what_to_see_also_is_there,
}


async def test_every_promise_has_a_test() -> None:
    """## Features"""
    tests = {**vars(examples), **globals()}
    quotes = [str(tests[name].__doc__) for name in tests if name.startswith("test_")]
    text = re.sub(r"```.*?```", "", examples.DOCUMENT, flags=re.DOTALL)
    promises = [line for line in text.splitlines() if re.match(r"- |\d\. |[A-Z]", line)]
    assert len(promises) > 35
    for promise in promises:
        assert promise in _ALSO or any(quote in promise for quote in quotes), promise


async def test_every_quote_is_from_the_document() -> None:
    """## Best Practices"""
    for name, test in globals().items():
        assert not name.startswith("test_") or test.__doc__ in examples.DOCUMENT, name
