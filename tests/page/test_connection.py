"""What the page says about its connections, to those who see it and to those who hear it."""

import re
import signal

import pytest
from playwright.async_api import expect

from tests.page.visits import Proxy, Visit
from tests.processes import LiveServer, Valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_silent_network_is_told_and_so_is_its_return(
    visit: Visit, fed_server: LiveServer, proxy: Proxy
) -> None:
    await visit.open(proxy.port)
    await visit.live()
    proxy.flowing.clear()
    await expect(visit.notice).to_have_text(
        re.compile(r"^Connection lost\. These prices may be old\. Trying again (in \d+ s|now)\.$")
    )
    await expect(visit.said).to_have_text("Connection lost. These prices may be old.")
    proxy.flowing.set()
    await expect(visit.notice).to_have_text("Connection is back.")
    await expect(visit.said).to_have_text("Connection is back.")
    await expect(visit.notice).to_be_hidden()


async def test_those_who_hear_are_told_when_another_thing_is_wrong(
    visit: Visit, fed_server: LiveServer, own_valkey: Valkey, proxy: Proxy
) -> None:
    await visit.open(proxy.port)
    await visit.live()
    own_valkey.signal(signal.SIGSTOP)
    try:
        await expect(visit.said).to_contain_text("Is its Redis away?")
        await proxy.cut()
        await expect(visit.said).to_have_text("Connection lost. These prices may be old.")
    finally:
        own_valkey.signal(signal.SIGCONT)


async def test_a_page_that_the_browser_keeps_is_not_connected_until_it_is_back(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    leave = "dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))"
    await visit.page.evaluate(leave)
    await expect(visit.page.locator(".socket[data-phase=idle]")).to_have_count(3)
    await visit.page.evaluate(leave.replace("pagehide", "pageshow"))
    await visit.live()
    price = visit.page.locator("[data-symbol=AAPL] .price")
    before = await price.inner_text()
    await expect(price).not_to_have_text(before)


async def test_nothing_moves_when_a_round_trip_takes_longer(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    places = await visit.page.evaluate("""() => {
        const facts = document.querySelectorAll(".socket-facts");
        return ["1/s", "110.0/s · 1,228 ms · heartbeat every 30 s"].map((text) => {
            for (const each of facts) each.textContent = text;
            return document.querySelector("[data-symbol]").getBoundingClientRect().y;
        });
    }""")
    assert places[0] == places[1]


async def test_the_links_to_the_code_of_clients_open_its_panel(
    visit: Visit, fed_server: LiveServer
) -> None:
    await visit.open(fed_server.port)
    panel = visit.page.locator("[data-connect]")
    await visit.page.get_by_role("link", name="Connect", exact=True).click()
    await expect(panel.locator("code").first).to_be_visible()


async def test_a_server_without_its_redis_says_so(
    visit: Visit, fed_server: LiveServer, own_valkey: Valkey
) -> None:
    await visit.open(fed_server.port)
    await visit.live()
    own_valkey.signal(signal.SIGSTOP)
    try:
        await expect(visit.notice).to_contain_text("Is its Redis away?")
    finally:
        own_valkey.signal(signal.SIGCONT)
    await expect(visit.notice).to_be_hidden()
    await visit.live()
