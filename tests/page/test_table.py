"""The symbols as a table, and their order."""

import re

import pytest
from playwright.async_api import expect

from realtime.broadcast import broadcast_market_data, broadcast_prediction_update
from tests.page.conftest import Publish
from tests.page.visits import Visit
from tests.processes import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
PRICES = {"TABA": 20.0, "TABB": 300.0, "TABC": 1.5}
NAMES = "[data-symbol] [data-value=symbol]"


async def open_sorted(
    visit: Visit, server: LiveServer, publish: Publish, query: str = "view=table"
) -> None:
    """A page with three symbols, each with its price."""
    await visit.page.goto(f"{server.http}/?{query}&symbols={','.join(PRICES)}")
    await visit.live()
    for symbol, price in PRICES.items():
        await publish(broadcast_market_data, symbol, {"price": price})
        await expect(visit.page.locator(f"[data-symbol={symbol}] .price")).to_have_text(
            f"{price:.2f}"
        )


async def test_a_row_has_the_price_and_the_prediction_of_its_symbol(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await open_sorted(visit, fed_server, publish)
    bounds = {"lower_bound": 18.0, "upper_bound": 26.0}
    await publish(broadcast_prediction_update, "TABA", {"predicted_price": 22.0, **bounds})
    row = visit.page.get_by_role("row", name="TABA")
    await expect(row.get_by_role("cell").nth(2)).to_have_text(
        re.compile(r"22\.00\s+▲ \+10\.00 %\s+18\.00 to 26\.00")
    )
    assert visit.complaints == []


async def test_the_table_and_the_order_are_there_again_at_the_next_visit(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    await visit.page.get_by_text("Table", exact=True).click()
    await visit.page.get_by_label("Sort by").select_option("symbol")
    await expect(visit.page).to_have_url(re.compile(r"\?view=table&sort=symbol$"))
    await visit.open(fed_server.port)
    await expect(visit.page.get_by_role("columnheader", name="Symbol")).to_have_attribute(
        "aria-sort", "ascending"
    )


async def test_a_click_on_a_column_sorts_and_another_one_reverses(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await open_sorted(visit, fed_server, publish)
    column = visit.page.get_by_role("button", name="Price", exact=True)
    await column.click()
    await expect(visit.page.locator(NAMES)).to_have_text(["TABB", "TABA", "TABC"])
    await column.click()
    await expect(visit.page.locator(NAMES)).to_have_text(["TABC", "TABA", "TABB"])


@pytest.mark.parametrize("view", ["cards", "table"])
async def test_the_order_follows_the_prices(
    visit: Visit, fed_server: LiveServer, publish: Publish, view: str
) -> None:
    await open_sorted(visit, fed_server, publish, f"view={view}&sort=-price")
    await expect(visit.page.locator(NAMES)).to_have_text(["TABB", "TABA", "TABC"])
    await publish(broadcast_market_data, "TABC", {"price": 400.0})
    await expect(visit.page.locator(NAMES)).to_have_text(["TABC", "TABB", "TABA"])


async def test_a_row_that_has_the_focus_does_not_move(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await visit.page.clock.install()
    await open_sorted(visit, fed_server, publish, "view=table&sort=-price")
    await expect(visit.page.locator(NAMES)).to_have_text(["TABB", "TABA", "TABC"])
    chart = visit.page.get_by_role("button", name="Chart of TABC")
    await chart.focus()
    await publish(broadcast_market_data, "TABC", {"price": 400.0})
    await expect(visit.page.locator("[data-symbol=TABC] .price")).to_have_text("400.00")
    await visit.page.clock.fast_forward(5_000)
    await expect(chart).to_be_focused()
    await expect(visit.page.locator(NAMES)).to_have_text(["TABB", "TABA", "TABC"])


async def test_a_symbol_is_added_to_the_table_and_removed_from_it(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await open_sorted(visit, fed_server, publish)
    await visit.add("TABD")
    await visit.page.get_by_role("button", name="Remove TABA").click()
    await expect(visit.page.locator(NAMES)).to_have_text(["TABB", "TABC", "TABD"])
    await visit.page.get_by_text("Cards", exact=True).click()
    await expect(visit.page.locator(".card h3")).to_have_text(["TABB", "TABC", "TABD"])
    await expect(visit.page.locator(".card .price").first).to_have_text("300.00")
