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
