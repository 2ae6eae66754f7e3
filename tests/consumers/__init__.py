"""The three endpoints through the whole ASGI application. These are what their tests share."""

from typing import Any

from realtime.broadcast import abroadcast_market_data
from tests.checker import Checker
from tests.clients import Open
from tests.wire import Message


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


async def publish(symbol: str, *prices: float) -> None:
    for price in prices:
        await abroadcast_market_data(symbol, {"price": price})


def price(message: Message) -> float:
    assert message["type"] == "market_data_update"
    value: float = message["data"]["price"]
    return value


async def position_after(connect: Open, symbol: str, *prices: float) -> dict[str, Any]:
    """The position of a client that has seen these prices."""
    client = await connect(f"/ws/market-data/{symbol}")
    await publish(symbol, *prices)
    checker = Checker()
    checker.feed(client.seen[0])
    for _ in prices:
        checker.feed(await client.next())
    checker.assert_complete()
    return checker.since()
