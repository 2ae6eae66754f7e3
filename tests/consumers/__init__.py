"""The three endpoints through the whole ASGI application. These are what their tests share."""

import asyncio
from typing import Any

from realtime.broadcast import Publication, abroadcast_market_data, asend_alert
from realtime.delivery.layers import current_layer
from tests.checker import Checker
from tests.clients import Open
from tests.patience import PATIENCE
from tests.wire import Message


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


async def publish(symbol: str, *prices: float) -> None:
    for price in prices:
        await _read_here(await abroadcast_market_data(symbol, {"price": price}))


async def publish_alert(data: dict[str, Any], *, user_id: Any = None) -> Publication:
    sent = await asend_alert(data, user_id=user_id)
    await _read_here(sent)
    return sent


async def _read_here(sent: Publication) -> None:
    """Wait until this process has read an update of a stream that it follows.

    Published is not yet read: a client that comes in between is sent the update live, not replayed.
    """
    layer, group = current_layer(), sent.stream.group
    if layer is None or sent.offset is None:
        return
    streams = layer.local.fanout.streams
    async with asyncio.timeout(PATIENCE):
        while group in streams and streams[group].offset < sent.offset:  # noqa: ASYNC110 (it sets no event)
            await asyncio.sleep(0.001)


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
