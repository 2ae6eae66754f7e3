"""The chart of a symbol in a real browser: what it draws is told by its words and attributes."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from playwright.async_api import Locator, Page, Route, expect

from realtime.broadcast import broadcast_market_data
from tests.clients import wait_for
from tests.page.conftest import Publish
from tests.page.visits import Proxy, Visit
from tests.patience import PATIENCE, STOP_SECONDS, wait_until
from tests.processes import ROOT, LiveServer, process_environment

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIBRARY = "lightweight-charts.js"
KEY = """
from tests import personas
print(personas.bob_key(name="market", scopes=["market-data"])[1])
"""


@pytest.fixture(scope="module", autouse=True)
def background(fed_server: LiveServer) -> Iterator[None]:
    """The recorder of bars, and what finds the outcomes of predictions."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_background"],
        cwd=ROOT, env=process_environment(fed_server.directory, fed_server.environment),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield
    process.terminate()
    process.wait(STOP_SECONDS)


async def open_chart(visit: Visit, server: LiveServer | Proxy, symbol: str) -> Locator:
    """Open the page and this symbol's chart; returns the chart."""
    await visit.open(server.port)
    await visit.live()
    if symbol != "AAPL":
        await visit.add(symbol)
    await visit.page.get_by_role("button", name=f"Chart of {symbol}").click()
    return visit.page.locator("[data-chart]")


async def shown(chart: Locator) -> Locator:
    """Wait until the chart has bars."""
    await expect(chart).to_have_attribute("data-state", "live")
    return chart


def part(page: Page, name: str) -> Locator:
    return page.locator(f"[data-chart-part={name}]")


async def choose(page: Page, label: str) -> None:
    await page.locator(".choice label", has_text=re.compile(f"^{label}$")).click()


async def test_a_chart_shows_candles_the_band_and_what_came_of_predictions(
    visit: Visit, fed_server: LiveServer
) -> None:
    chart = await shown(await open_chart(visit, fed_server, "AAPL"))
    assert int(await chart.get_attribute("data-bars") or 0) > 50
    await expect(chart).to_have_attribute("data-band", re.compile(r"^[\d.]+ [\d.]+ [\d.]+$"))
    await expect(chart).to_have_attribute("data-outcomes", re.compile(r"^\d+ of [1-9]"))
    await expect(part(visit.page, "summary")).to_have_text(
        re.compile(r"AAPL: \d+ bars of 1 day from .* Predicted: .* Of \d+ past predictions")
    )
    await expect(part(visit.page, "score")).to_contain_text("in band (90 % promised)")
    await expect(part(visit.page, "zone")).to_have_text(
        "Days in UTC · historical replay, not live prices"
    )
    assert visit.complaints == []  # of the Content-Security-Policy neither


async def test_a_chart_becomes_narrower_with_its_window(
    visit: Visit, fed_server: LiveServer
) -> None:
    await shown(await open_chart(visit, fed_server, "AAPL"))
    fits = """() => {
        const [plot] = document.querySelectorAll(".chart-plot");
        const drawn = plot.querySelector("table").getBoundingClientRect();
        const inside = drawn.right <= plot.getBoundingClientRect().right + 1;
        return inside && document.documentElement.scrollWidth <= innerWidth;
    }"""
    for width in (1100, 390):
        await visit.page.set_viewport_size({"width": width, "height": 800})
        await wait_for(lambda: visit.page.evaluate(fits))


async def test_the_library_for_charts_is_loaded_with_the_first_chart(
    visit: Visit, fed_server: LiveServer
) -> None:
    loaded: list[str] = []
    visit.page.on("request", lambda request: loaded.append(request.url))
    await visit.open(fed_server.port)
    await visit.live()
    assert not any(LIBRARY in url for url in loaded)
    for symbol in ("IBM", "FB"):
        await visit.page.get_by_role("button", name=f"Chart of {symbol}").click()
        await shown(visit.page.locator("[data-chart]"))
    assert [url for url in loaded if LIBRARY in url] == [
        f"{fed_server.http}/static/realtime/vendor/lightweight-charts/{LIBRARY}"
    ]


async def test_a_live_update_moves_the_last_candle(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await publish(broadcast_market_data, "LIVE", {"price": 10.0, "volume": 5})
    chart = await shown(await open_chart(visit, fed_server, "LIVE"))
    await expect(chart).to_have_attribute("data-last-close", "10")
    for price in (12.5, 11.25):
        await publish(broadcast_market_data, "LIVE", {"price": price, "volume": 5})
    await expect(chart).to_have_attribute("data-last-close", "11.25")
    await expect(part(visit.page, "legend")).to_contain_text("High 12.50")
    await expect(part(visit.page, "zone")).to_contain_text("Times in ")
    assert visit.complaints == []


async def test_a_requested_prediction_stays_beside_the_next_one_of_the_feed(
    visit: Visit, fed_server: LiveServer
) -> None:
    await shown(await open_chart(visit, fed_server, "AAPL"))
    await visit.page.get_by_label("Steps ahead").fill("20")
    await visit.page.locator(".chart-request button").click()
    requested, current = part(visit.page, "requested"), part(visit.page, "current")
    await expect(requested).to_contain_text("20 steps ahead, for ")
    answer, _, _ = (await requested.inner_text()).partition(", for ")  # a holiday moves the day
    await expect(current).not_to_have_text(await current.inner_text())
    await expect(requested).to_contain_text(answer)
    await visit.page.get_by_role("button", name="Dismiss").click()
    await expect(requested).to_be_hidden()


async def test_a_replay_that_begins_again_shows_nothing_of_its_future(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    async def tick(day: str) -> None:
        await publish(broadcast_market_data, "LAP", {"price": 5.0, "bar_date": day})

    await tick("2013-01-10")
    chart = await shown(await open_chart(visit, fed_server, "LAP"))
    await expect(chart).to_have_attribute("data-last-time", "2013-01-10T00:00:00.000Z")
    await tick("2012-01-05")
    await expect(chart).to_have_attribute("data-last-time", "2012-01-05T00:00:00.000Z")
    assert visit.complaints == []


async def test_firings_of_a_rule_are_marked(visit: Visit, fed_server: LiveServer) -> None:
    chart = await shown(await open_chart(visit, fed_server, "AAPL"))
    last = await chart.get_attribute("data-last-time")
    firing = {"symbol": "AAPL", "firings": [{"timestamp": last}, {"timestamp": "2001-01-01"}]}
    event = 'detail => document.dispatchEvent(new CustomEvent("rule-firings", { detail }))'
    await visit.page.evaluate(event, firing)
    await expect(part(visit.page, "marked")).to_contain_text("2 firings of the rule: 1 marked")
    await visit.page.evaluate(event, {"symbol": None, "firings": []})
    await expect(part(visit.page, "marked")).to_be_empty()
    assert visit.complaints == []


async def test_prices_are_shown_to_those_who_may_not_read_predictions(
    visit: Visit, fed_server: LiveServer
) -> None:
    key = fed_server.shell(KEY).strip()
    await visit.page.add_init_script(f"sessionStorage['ara-realtime-credential'] = {key!r}")
    await visit.page.goto(f"{fed_server.http}/?chart=AAPL")
    await shown(visit.page.locator("[data-chart]"))
    await expect(part(visit.page, "problem")).to_contain_text("predictions")


async def test_a_chart_that_cannot_be_read_shows_no_other_one(
    visit: Visit, fed_server: LiveServer, proxy: Proxy
) -> None:
    chart = await shown(await open_chart(visit, proxy, "AAPL"))
    await proxy.cut()
    await visit.page.get_by_role("button", name="Chart of IBM").click()
    await expect(part(visit.page, "problem")).to_have_text("The server cannot be reached.")
    await expect(part(visit.page, "plot")).to_be_hidden()
    await proxy.heal()
    await shown(chart)
    await expect(part(visit.page, "summary")).to_contain_text("IBM: ")


async def test_daily_prices_have_no_minutes_and_the_chart_says_so(
    visit: Visit, fed_server: LiveServer
) -> None:
    chart = await shown(await open_chart(visit, fed_server, "AAPL"))
    await choose(visit.page, "15m")
    await expect(chart).to_have_attribute("data-state", "empty")
    await expect(part(visit.page, "why")).to_contain_text("choose 1d")
    await choose(visit.page, "1d")
    await shown(chart)


async def test_a_symbol_without_bars_says_how_to_get_some(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    chart = await open_chart(visit, fed_server, "NEW/ONE")
    await expect(chart).to_have_attribute("data-state", "empty")
    command = chart.locator(".command code")
    await expect(command.first).to_contain_text("broadcast_market_data NEW/ONE")
    await expect(command.last).to_contain_text("manage.py record_bars")
    await publish(broadcast_market_data, "NEW/ONE", {"price": 3.0})
    await expect(chart).to_have_attribute("data-last-close", "3")
    assert visit.complaints == []


async def test_the_keyboard_reads_bar_by_bar(visit: Visit, fed_server: LiveServer) -> None:
    await shown(await open_chart(visit, fed_server, "AAPL"))
    plot, legend = part(visit.page, "plot"), part(visit.page, "legend")
    await plot.press("Home")
    first = (await part(visit.page, "legend").inner_text()).split(" · ")[0]
    await expect(part(visit.page, "summary")).to_contain_text(f"from {first} to")
    read = visit.page.get_by_role("status").and_(part(visit.page, "read"))
    await expect(read).to_contain_text(first)
    await plot.press("ArrowRight")
    await expect(legend).not_to_contain_text(first)
    await expect(read).to_have_text(await legend.inner_text())
    await plot.press("Escape")
    await expect(read).to_be_empty()


async def test_prices_that_move_the_chosen_bar_are_not_read_out(
    visit: Visit, fed_server: LiveServer
) -> None:
    await shown(await open_chart(visit, fed_server, "AAPL"))
    await part(visit.page, "plot").press("End")
    read, chart = part(visit.page, "read"), visit.page.locator("[data-chart]")
    said, close = await read.inner_text(), await chart.get_attribute("data-last-close")
    await read.evaluate("(element) => { element.firstChild.isTheSame = true; }")
    await expect(chart).not_to_have_attribute("data-last-close", close or "")
    assert (await read.inner_text(), said != "") == (said, True)
    assert await read.evaluate("(element) => element.firstChild.isTheSame")


async def test_no_bar_is_missing_that_came_while_the_chart_was_read(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    read, released = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        answer = await route.fetch()
        read.set()
        await released.wait()
        await route.fulfill(response=answer)

    async def tick(day: str) -> None:
        await publish(broadcast_market_data, "HELD", {"price": 5.0, "bar_date": day})

    await tick("2013-01-07")
    url = f"{fed_server.http}/api/v1/market-data/HELD/bars?interval=1d"
    assert await asyncio.to_thread(wait_until, lambda: httpx.get(url).json()["bars"])
    await visit.page.route("**/HELD/bars?*", hold, times=1)
    chart = await open_chart(visit, fed_server, "HELD")
    await asyncio.wait_for(read.wait(), PATIENCE)
    for day in ("2013-01-08", "2013-01-09"):
        await tick(day)
    card = visit.page.locator("[data-symbol=HELD]")
    await card.scroll_into_view_if_needed()  # cards off the screen are not drawn
    await expect(card.locator("[data-value=time]")).to_contain_text("9 Jan 2013")
    released.set()
    await shown(chart)
    assert await chart.get_attribute("data-bars") == "3"  # at once, not when it is read again


async def test_the_address_of_the_page_names_the_chart(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.page.goto(f"{fed_server.http}/?chart=IBM")
    chart = await shown(visit.page.locator("[data-chart]"))
    await expect(chart.locator("h2")).to_have_text("IBM")
    await choose(visit.page, "Line")
    await shown(chart)
    await chart.get_by_role("button", name="Close").click()
    await expect(chart).to_be_hidden()
    assert "chart=" not in visit.page.url
    assert visit.complaints == []
