"""Reading streams inside the server, with the same offsets and the same resume as a client.

    async for item in subscribe([Stream("market-data", "AAPL")], since=positions):
        if isinstance(item, Lost): ...
        else: use(item.data)

For what runs in a process of its own and must not miss anything: engines, recorders, `watch`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured

from realtime.delivery.layers import EXTENSION
from realtime.delivery.updates import Update
from realtime.protocol import Position
from realtime.streams import Stream

# Updates that may wait for a reader. One that falls further behind reads on from the history.
MAX_WAITING: Final = 10_000


@dataclass(frozen=True, slots=True)
class Lost:
    """Updates `first` to `last` of `epoch` are not held any more; reading goes on behind them.

    `last < first`: nothing of this epoch is missing, but what the epoch before still had is.
    """

    stream: Stream
    first: int
    last: int
    epoch: str


class _Reader:
    """Queues what a stream delivers, until it is too much."""

    def __init__(self) -> None:
        self.items: deque[Update | Lost] = deque()
        self.overflowed = False
        self.arrived = asyncio.Event()

    def put(self, item: Update | Lost) -> None:
        if self.overflowed:
            return
        if len(self.items) >= MAX_WAITING:
            self.overflowed = True
        else:
            self.items.append(item)
        self.arrived.set()

    def deliver(self, update: Update) -> None:
        self.put(update)

    def deliver_snapshot(self, update: Update) -> None:
        self.put(update)

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        self.put(Lost(stream, first, last, epoch))

    def deliver_state(self, stream: Stream, text: bytes) -> None:
        """The layer is away: what it then has arrives when it is back."""


async def subscribe(
    streams: Sequence[Stream], since: Mapping[Stream, Position] | None = None
) -> AsyncIterator[Update | Lost]:
    """Updates of the streams, in order and without a hole, from `since` (or now) on.

    A stream without a position in `since` begins with its newest update. Ends when the caller
    stops iterating. Raises ImproperlyConfigured with a channel layer that has no streams.
    """
    outer: Any = get_channel_layer()
    if outer is None or EXTENSION not in outer.extensions:
        raise ImproperlyConfigured("subscribe() needs one of this project's channel layers")
    layer = getattr(outer, "loop_layer", outer)
    positions = dict(since or {})
    channel = await layer.new_channel()
    layer.attach(channel, lambda message: None)
    reader = _Reader()
    try:
        for stream in streams:
            await layer.group_add(stream.group, channel)
            await _start(layer, stream, reader, positions)
        while True:
            await reader.arrived.wait()
            reader.arrived.clear()
            while reader.items:
                item = reader.items.popleft()
                positions[item.stream] = _position(item)
                yield item
            if reader.overflowed:
                reader = await _catch_up(layer, streams, reader, positions)
    finally:
        for stream in streams:
            layer.leave(stream, reader)
        layer.detach(channel)


async def _start(
    layer: Any, stream: Stream, reader: _Reader, positions: Mapping[Stream, Position]
) -> None:
    """Join a stream where the reader stands, and queue what it has missed."""
    since = {known.symbol: place for known, place in positions.items() if _within(known, stream)}
    await layer.prepare(stream, since)
    for symbol, start in layer.start(stream, reader, since).items():
        if start.recovered is False:
            first = since[symbol].offset + 1 if since[symbol].epoch == start.epoch else 1
            last = start.updates[0].offset - 1 if start.updates else start.offset
            one = Stream(stream.channel, symbol, stream.user_id)
            reader.put(Lost(one, first, last, start.epoch))
        for update in start.updates:
            reader.put(update)


async def _catch_up(
    layer: Any, streams: Sequence[Stream], full: _Reader, positions: Mapping[Stream, Position]
) -> _Reader:
    for stream in streams:
        layer.leave(stream, full)
    reader = _Reader()
    for stream in streams:
        await _start(layer, stream, reader, positions)
    return reader


def _within(known: Stream, stream: Stream) -> bool:
    return known == stream or (stream.wildcard and known.channel == stream.channel)


def _position(item: Update | Lost) -> Position:
    if isinstance(item, Update):
        return Position(item.epoch, item.offset)
    return Position(item.epoch, item.last)
