"""EventSource of a real browser: over a restart, and to a page of another origin."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright

from realtime.broadcast import abroadcast_market_data
from tests.conftest import require_program
from tests.live import publish_to
from tests.processes import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
LISTEN = """(url) => {
    window.offsets = [];
    window.events = new EventSource(url);
    events.onmessage = (event) => {
        const { offset } = JSON.parse(event.data);
        if (offset !== undefined) offsets.push(offset);
    };
}"""


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., LiveServer]) -> LiveServer:
    return module_servers(REALTIME_DRAIN_SECONDS="0.2")


@pytest_asyncio.fixture(loop_scope="module")
async def page(server: LiveServer) -> AsyncIterator[Page]:
    path = require_program("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = await browser.new_page()
        await page.goto(f"{server.http}/healthz")
        yield page
        await browser.close()


async def test_a_page_gets_every_update_once_over_a_restart(
    page: Page, server: LiveServer, settings: Any
) -> None:
    publish_to(server, settings)
    await abroadcast_market_data("AAPL", {"price": 1})
    await page.evaluate(LISTEN, f"{server.http}/sse/market-data?symbols=AAPL,MSFT")
    await page.wait_for_function("offsets.length === 1")
    server.stop()
    for price in (2, 3):
        await abroadcast_market_data("AAPL", {"price": price})
    server.restart()
    await abroadcast_market_data("AAPL", {"price": 4})
    await page.wait_for_function("offsets.includes(4)")
    assert await page.evaluate("offsets") == [1, 2, 3, 4]


async def test_a_credential_that_is_refused_ends_the_attempts(
    page: Page, server: LiveServer
) -> None:
    await page.evaluate(LISTEN, f"{server.http}/sse/market-data/AAPL?token=ara_wrong")
    await page.wait_for_function("events.readyState === EventSource.CLOSED")
