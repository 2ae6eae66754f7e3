"""The symbols of the page: those of its address, and those that stay in the browser."""

import asyncio
import re
from collections.abc import Callable

import pytest
from playwright.async_api import WebSocket, WebSocketRoute, expect

from realtime.broadcast import broadcast_market_data, broadcast_prediction_update
from tests.page.conftest import Publish
from tests.page.visits import Visit
from tests.processes import LiveServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY_FOR_ONE = """
from tests import personas
print(personas.bob_key(symbols={"market-data": ["OFFERED"], "predictions": ["OFFERED"]})[1])
"""


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


async def test_what_one_channel_sends_before_the_other_one_answers_is_shown(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    held: asyncio.Queue[Callable[[], None]] = asyncio.Queue()

    def hold(socket: WebSocketRoute) -> None:
        """The answer about the new symbol waits."""

        def pass_on(text: str | bytes) -> None:
            if '"subscribed"' in str(text) and "EARLY" in str(text):
                held.put_nowait(lambda: socket.send(text))
            else:
                socket.send(text)

        socket.connect_to_server().on_message(pass_on)

    sockets: list[WebSocket] = []
    visit.page.on("websocket", lambda socket: sockets.append(socket))
    await visit.page.route_web_socket(re.compile("/ws/market-data"), hold)
    await publish(broadcast_prediction_update, "EARLY", {"predicted_price": 150.25})
    await visit.open(fed_server.port)
    await visit.live()
    [predictions] = [socket for socket in sockets if "/ws/predictions" in socket.url]
    async with predictions.expect_event("framereceived", lambda text: "150.25" in str(text)):
        card = await visit.add("EARLY")
    (await held.get())()
    await expect(card.locator(".point")).to_have_text("150.25")


async def test_symbols_that_the_server_has_are_offered_and_those_of_the_page_are_not(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await publish(broadcast_market_data, "OFFERED", {"price": 1.0})
    await publish(broadcast_market_data, "HIDDEN", {"price": 1.0})
    await visit.page.goto(f"{fed_server.http}/?symbols=HIDDEN")
    await visit.live()
    field = visit.page.get_by_role("combobox", name="Add a symbol")
    await field.focus()
    offered = visit.page.locator("#known-symbols option[value=OFFERED]")
    await expect(offered).to_be_attached()
    await expect(visit.page.locator("#known-symbols option[value=HIDDEN]")).to_have_count(0)


async def test_the_offer_is_what_another_user_may_read(
    visit: Visit, fed_server: LiveServer, publish: Publish
) -> None:
    await publish(broadcast_market_data, "OFFERED", {"price": 1.0})
    key = fed_server.shell(KEY_FOR_ONE).strip()
    await visit.open(fed_server.port)
    await visit.page.get_by_label("Add a symbol").focus()
    await expect(visit.page.locator("#known-symbols option").first).to_be_attached()
    await visit.page.locator(".credential summary").click()
    await visit.page.get_by_label("JWT or API key").fill(key)
    await visit.page.get_by_role("button", name="Use it").click()
    await visit.page.get_by_label("Add a symbol").focus()
    await expect(visit.page.locator("#known-symbols option")).to_have_count(1)
