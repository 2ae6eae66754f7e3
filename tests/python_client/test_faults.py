"""What may happen to a connection: every offset comes once, none is missing."""

import asyncio
import json
import time

import pytest
from ara_client import Client, Connected, Reconnecting, ServerShutdown, TokenExpiring, Unauthorized
from ara_client.session import ANSWER_SECONDS, QUIET_SECONDS

from tests.clients import wait_for
from tests.patience import scaled
from tests.processes import LiveServer
from tests.python_client.conftest import Listener, Publisher
from tests.python_client.proxy import Proxy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("publishing")]

_TOKENS = """
import datetime as dt, json
from rest_framework_simplejwt.tokens import AccessToken
from tests import personas
tokens = [AccessToken.for_user(personas.alice()) for _ in range(2)]
tokens[0].set_exp(lifetime=dt.timedelta(seconds=15))
print(json.dumps([str(token) for token in tokens]))
"""


async def test_a_token_is_renewed_and_the_next_connection_uses_the_new_one(
    server: LiveServer, proxy: Proxy, symbol: str
) -> None:
    short, long = json.loads(await asyncio.to_thread(server.shell, _TOKENS))
    given: list[str] = []

    def get_token() -> str:
        given.append(long if given else short)
        return given[-1]

    await proxy.open()
    async with Client(proxy.url, get_token=get_token) as client:
        listener = Listener(client.market_data(symbol))
        publisher = Publisher(symbol)
        await listener.until(lambda: listener.of(TokenExpiring))
        await wait_for(lambda: asyncio.sleep(0, len(given) == 2))
        assert listener.of(Reconnecting) == []  # it was for the open connection
        proxy.reset()
        await listener.until(lambda: len(listener.of(Connected)) == 2)
        await listener.has_all(await publisher.stop())
    assert [event.authenticated for event in listener.of(Connected)] == [True, True]
    assert given[1:] == [long] * (len(given) - 1)


async def test_a_port_that_refuses_is_tried_until_it_listens(proxy: Proxy, symbol: str) -> None:
    async with Client(proxy.url) as client:
        listener = Listener(client.market_data(symbol))
        publisher = Publisher(symbol)
        await listener.until(lambda: len(listener.of(Reconnecting)) == 2)
        await proxy.open()
        await listener.until(lambda: listener.offsets)
        await publisher.stop()
    first = listener.offsets[0]
    assert first is not None
    assert listener.offsets == list(range(first, first + len(listener.offsets)))


async def test_a_network_that_is_cut_is_noticed_within_ten_seconds(
    proxy: Proxy, symbol: str
) -> None:
    assert QUIET_SECONDS + ANSWER_SECONDS <= 8  # the rest is for a busy machine
    await proxy.open()
    async with Client(proxy.url) as client:
        listener = Listener(client.market_data(symbol))
        publisher = Publisher(symbol)
        await listener.until(lambda: len(listener.offsets) > 3)
        proxy.cut()
        cut = time.monotonic()
        await listener.until(lambda: listener.of(Reconnecting))
        assert time.monotonic() - cut < scaled(10)
        await listener.until(lambda: len(listener.of(Connected)) == 2)
        await listener.has_all(await publisher.stop())


async def test_a_server_that_is_killed_costs_no_update(server: LiveServer, symbol: str) -> None:
    async with Client(server.http) as client:
        listener = Listener(client.market_data(symbol))
        publisher = Publisher(symbol)
        await listener.until(lambda: len(listener.offsets) > 3)
        await asyncio.to_thread(server.kill)
        await listener.until(lambda: listener.of(Reconnecting))
        await asyncio.to_thread(server.restart)
        await listener.until(lambda: len(listener.of(Connected)) == 2)
        await listener.has_all(await publisher.stop())


async def test_a_server_that_is_drained_costs_no_update(server: LiveServer, symbol: str) -> None:
    async with Client(server.http) as client:
        listener = Listener(client.market_data(symbol))
        publisher = Publisher(symbol)
        await listener.until(lambda: len(listener.offsets) > 3)
        await asyncio.to_thread(server.restart)
        await listener.until(lambda: len(listener.of(Connected)) == 2)
        await listener.has_all(await publisher.stop())
    assert len(listener.of(ServerShutdown)) == 1
    assert listener.of(Reconnecting)[0].code == 1012


async def test_a_token_that_stays_wrong_ends_the_subscription(server: LiveServer) -> None:
    asked = []

    async def get_token() -> str:
        asked.append(1)
        return "ara_0000.wrong"

    async with Client(server.http, get_token=get_token) as client:
        with pytest.raises(Unauthorized, match="get_token"):
            await anext(aiter(client.market_data("AAPL")))
    assert len(asked) == 2
