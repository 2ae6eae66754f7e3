"""EventSource of a real browser: over a restart, and to a page of another origin."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from realtime.broadcast import abroadcast_market_data
from tests.browsers import chromium
from tests.documents import block
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


RENDER = """
from django.template import Context, Template
page = Template('{%% load realtime %%}{%% realtime_bootstrap "market-data" "%s" %%}')
print(page.render(Context()))
"""


# The prices that a page writes to its console, which has this JSON in it.
HEAR_PRICES = """(html) => {
    document.body.innerHTML = html;
    window.prices = [];
    console.log = (first, second) => {
        const price = second ?? first.data?.price;
        if (price !== undefined) prices.push(price);
    };
}"""


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., LiveServer]) -> LiveServer:
    return module_servers(REALTIME_DRAIN_SECONDS="0.2")


@pytest_asyncio.fixture(loop_scope="module")
async def page(server: LiveServer) -> AsyncIterator[Page]:
    async with chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"{server.http}/healthz")
        yield page


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


@pytest.mark.parametrize(
    ("number", "prices"),
    [(0, [1, 2, 3]), (1, [1, 2, 3]), (2, [2, 3])],
    ids=["AraClient", "WebSocket", "EventSource"],
)
async def test_the_documented_page_shows_each_update_once(
    page: Page, server: LiveServer, settings: Any, number: int, prices: list[int]
) -> None:
    publish_to(server, settings)
    symbol = f"PAGE{number}"
    await abroadcast_market_data(symbol, {"price": 1})
    html = await asyncio.to_thread(server.shell, RENDER % symbol)
    await page.evaluate(HEAR_PRICES, html)
    await abroadcast_market_data(symbol, {"price": 2})
    await page.add_script_tag(content=block("In the page", "javascript", number), type="module")
    await page.wait_for_function("prices.includes(2)")
    await abroadcast_market_data(symbol, {"price": 3})
    await page.wait_for_function("prices.includes(3)")
    assert await page.evaluate("prices") == prices


async def test_a_credential_that_is_refused_ends_the_attempts(
    page: Page, server: LiveServer
) -> None:
    await page.evaluate(LISTEN, f"{server.http}/sse/market-data/AAPL?token=ara_wrong")
    await page.wait_for_function("events.readyState === EventSource.CLOSED")
