"""What the page costs a browser: counts, since times of a busy machine say little."""

import re

import pytest
from playwright.async_api import expect

from realtime.broadcast import broadcast_many, broadcast_market_data, market_data_update
from tests.page.conftest import Publish
from tests.page.visits import Visit
from tests.processes import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
COUNT = """(element) => {
  window.drawn = 0;
  const observer = new MutationObserver(() => { window.drawn += 1; });
  observer.observe(element, { childList: true, characterData: true, subtree: true });
}"""
MANY = [f"S{number}" for number in range(60)]


@pytest.fixture(params=["cards", "table"])
def view(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_nothing_moves_while_the_page_loads(
    visit: Visit, fed_server: LiveServer, view: str
) -> None:
    await visit.page.add_init_script(SHIFTS)
    await visit.page.goto(f"{fed_server.http}/?view={view}")
    await visit.live()
    await expect(visit.page.locator("[data-symbol=AAPL] .point")).to_have_text(re.compile(r"\d"))
    assert await visit.page.evaluate("window.shifted") < 0.1


async def test_symbols_off_the_screen_are_not_drawn_until_somebody_looks(
    visit: Visit, fed_server: LiveServer, publish: Publish, view: str
) -> None:
    await visit.page.goto(f"{fed_server.http}/?view={view}&symbols={','.join(MANY)}")
    await visit.live()
    await publish(broadcast_market_data, "S59", {"price": 59.0})
    await publish(broadcast_market_data, "S0", {"price": 10.0})
    await expect(visit.page.locator("[data-symbol=S0] .price")).to_have_text("10.00")
    last = visit.page.locator("[data-symbol=S59]")
    assert "59.00" not in (await last.locator(".price").text_content() or "")
    await last.scroll_into_view_if_needed()
    await expect(last.locator(".price")).to_have_text("59.00")


async def test_a_burst_of_prices_is_drawn_a_few_times(
    visit: Visit, fed_server: LiveServer, publish: Publish, view: str
) -> None:
    await visit.page.goto(f"{fed_server.http}/?view={view}&symbols=BURST")
    await visit.live()
    price = visit.page.locator("[data-symbol=BURST] .price")
    await price.evaluate(COUNT)
    burst = [market_data_update("BURST", {"price": 100.0 + number}) for number in range(300)]
    await publish(broadcast_many, burst)
    await expect(price).to_have_text("399.00")
    assert await visit.page.evaluate("window.drawn") < 100
