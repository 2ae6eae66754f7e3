"""The symbols of the page: those of its address, and those that stay in the browser."""

import re

import pytest
from playwright.async_api import expect

from tests.page.visits import Visit
from tests.processes import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_address_names_symbols_and_follows_them(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.page.goto(f"{fed_server.http}/?symbols=ibm,-A,MSFT")
    await expect(visit.page.locator(".card[data-symbol] h3")).to_have_text(["IBM", "MSFT"])
    await visit.add("EURUSD=X")
    await expect(visit.page).to_have_url(re.compile(r"symbols=IBM%2CMSFT%2CEURUSD%3DX$"))


async def test_symbols_are_there_again_at_the_next_visit(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    await visit.page.get_by_role("button", name="Remove FB").click()
    await visit.add("KEPT")
    await visit.page.reload()
    kept = visit.page.locator(".card[data-symbol] h3")
    await expect(kept).to_have_text(["AAPL", "GOOG", "IBM", "MSFT", "KEPT"])
    await visit.live()
    assert visit.complaints == []
