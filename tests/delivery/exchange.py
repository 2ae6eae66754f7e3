"""Two layers that talk to each other through Redis."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from realtime.delivery.history_scripts import Published
from realtime.delivery.layers import RedisStreamLayer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.updates import Update
from realtime.protocol import market_data_body
from realtime.streams import Stream
from tests.delivery.memory import Reader
from tests.delivery.updates import AAPL
from tests.delivery.waiting import until
from tests.patience import PATIENCE
from tests.processes import Valkey

HELLO: Final = {"type": "test.message", "text": "Hello"}
Make = Callable[..., RedisStreamLayer]


async def receive(layer: RedisStreamLayer, channel: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await layer.receive(channel)


async def exchange(one: RedisStreamLayer, other: RedisStreamLayer) -> None:
    """Messages, groups and updates go both ways."""
    for here, there in ((one, other), (other, one)):
        # First, since it waits for the connection, and a name of a channel only for a second.
        reader = await follow(here, AAPL)
        channel = await here.new_channel()
        await there.send(channel, HELLO)
        assert await receive(here, channel) == HELLO
        await here.group_add("group", channel)
        await there.group_send("group", HELLO)
        assert await receive(here, channel) == HELLO
        first = len(reader.events)
        await publish(there, AAPL, 2)
        await until(reader.has(first + 2))
        here.leave(AAPL, reader)
        await here.group_discard("group", channel)


async def follow(layer: RedisStreamLayer, stream: Stream, **since: Any) -> Reader:
    """A reader of a stream, as a socket is one."""
    channel = await layer.new_channel()
    layer.attach(channel, lambda message: None)
    await layer.group_add(stream.group, channel)
    await layer.prepare(stream, since)
    reader = Reader()
    reader.begin(layer.start(stream, reader, since))
    return reader


async def publish(layer: RedisStreamLayer, stream: Stream, count: int) -> None:
    body = market_data_body(stream.symbol, {"price": 1})
    await layer.send_updates([(stream, body)] * count)


def commands(valkey: Valkey) -> Any:
    """A client; redis-py's types know each answer as a union of all."""
    return valkey.client()


def pubsub_channels(valkey: Valkey) -> list[str]:
    return sorted(name.decode() for name in commands(valkey).pubsub_channels())


async def publish_prices(
    layer: RedisStreamLayer, first: int, last: int, stream: Stream = AAPL
) -> list[Published]:
    """Numbers as prices, one update each; once Redis takes them again."""
    answers = []
    for number in range(first, last + 1):
        body = market_data_body(stream.symbol, {"price": number})
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(BackendUnavailable):
                    answers += await layer.send_updates([(stream, body)])
                    break
    return answers


class Prices:
    """A reader that writes down what it got under which number."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.got: list[tuple[str, int, int]] = []
        self.gaps: list[tuple[int, int]] = []

    @property
    def owner(self) -> object:
        return self

    @property
    def prices(self) -> list[int]:
        return [price for _, _, price in self.got]

    def deliver(self, update: Update) -> None:
        self.got.append((self.epoch, update.offset, update.data["price"]))

    deliver_snapshot = deliver

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        self.gaps.append((first, last))
        self.epoch = epoch

    def deliver_state(self, stream: Stream, text: bytes) -> None:
        pass


async def prices_of(layer: RedisStreamLayer) -> Prices:
    reader = await follow(layer, AAPL)
    prices = Prices(reader.at["AAPL"][0])
    layer.leave(AAPL, reader)
    layer.join(AAPL, prices)
    return prices
