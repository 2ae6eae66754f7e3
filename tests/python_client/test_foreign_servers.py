"""Servers that send what is not of the protocol: the client says so, and never fails otherwise."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from ara_client import Client, Connected, NotAnAraServer, Reconnecting
from websockets.asyncio.server import ServerConnection, serve

GREETING = '{"type": "connected", "authenticated": false, "streams": {}}'
FOREIGN = [
    "nonsense", "", "null", "7", '"text"', "[]", "{}", '{"type": ["x"]}', '{"type": "ping"}',
    '{"type": "subscribed"}', b"\xff", "[" * 100_000,
]  # fmt: skip
Sending = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def sending() -> Sending:
    """A client of a server of which each connection receives these messages."""

    @asynccontextmanager
    async def start(*messages: str | bytes) -> AsyncIterator[Client]:
        async def greet(connection: ServerConnection) -> None:
            for message in messages:
                await connection.send(message)
            await connection.wait_closed()

        async with serve(greet, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with Client(f"http://127.0.0.1:{port}") as client:
                yield client

    return start


@pytest.mark.parametrize("message", FOREIGN, ids=lambda message: repr(message)[:20])
async def test_what_greets_in_another_way_ends_the_subscription(
    message: str | bytes, sending: Sending
) -> None:
    async with sending(message) as client:
        with pytest.raises(NotAnAraServer):
            await anext(aiter(client.market_data("AAPL")))


@pytest.mark.parametrize("message", FOREIGN, ids=lambda message: repr(message)[:20])
async def test_after_a_foreign_message_the_client_connects_again(
    message: str | bytes, sending: Sending
) -> None:
    async with sending(GREETING, message) as client:
        events = client.market_data("AAPL").events()
        assert isinstance(await anext(events), Connected)
        lost = await anext(events)
    assert isinstance(lost, Reconnecting)
    assert "not of the protocol" in lost.reason


async def test_a_message_of_a_later_version_is_passed_over(sending: Sending) -> None:
    async with sending(GREETING, '{"type": "of_tomorrow"}') as client:
        subscription = client.market_data("AAPL")
        assert isinstance(await anext(subscription.events()), Connected)
        assert await subscription.take(1, timeout=0.2) == []
        assert not subscription.ended


@pytest.mark.parametrize("message", ["nonsense", "null", "{}", b"\xff"])
async def test_a_prediction_cannot_be_had_from_another_server(
    message: str | bytes, sending: Sending
) -> None:
    async with sending(message) as client:
        with pytest.raises(NotAnAraServer):
            await client.request_prediction("AAPL")
