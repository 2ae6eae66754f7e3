"""Reading streams inside the server, with the same offsets and the same resume as a client.

    async for item in subscribe([Stream("market-data", "AAPL")], since=positions):
        if isinstance(item, Lost): ...
        else: use(item.data)

For what runs in a process of its own and must not miss anything: engines, recorders, `watch`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured

from realtime.delivery.layers import EXTENSION
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.updates import Update
from realtime.protocol import Position
from realtime.streams import Stream

# Updates that may wait for a reader. One that falls further behind reads on from the history.
MAX_WAITING: Final = 10_000
# Seconds until a layer that could not be asked is asked again.
RETRY_SECONDS: Final = 0.2


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
    """Queues what streams deliver, until it is too much; `positions` then say where to go on."""

    def __init__(self, positions: dict[Stream, Position]) -> None:
        self.items: deque[Update | Lost] = deque()
        self.overflowed = False
        self.arrived = asyncio.Event()
        self._positions = positions

    @property
    def owner(self) -> object:
        return self

    def put(self, item: Update | Lost, before: Position) -> None:
        self.overflowed = self.overflowed or len(self.items) >= MAX_WAITING
        if self.overflowed:
            # A stream that nothing was read from yet: it is read from here.
            self._positions.setdefault(item.stream, before)
        else:
            self.items.append(item)
        self.arrived.set()

    def deliver(self, update: Update) -> None:
        self.put(update, Position(update.epoch, update.offset - 1))

    def deliver_snapshot(self, update: Update) -> None:
        self.deliver(update)

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        self.put(Lost(stream, first, last, epoch), Position(epoch, 0))

    def deliver_state(self, stream: Stream, text: bytes) -> None:
        """The layer is away: what it then has arrives when it is back."""


async def subscribe(
    streams: Sequence[Stream], since: Mapping[Stream, Position] | None = None
) -> AsyncGenerator[Update | Lost, None]:
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
    reader = full = _Reader(positions)
    try:
        for stream in streams:
            await _join(layer, stream, channel, positions)
            _start(layer, stream, reader, positions)
        while True:
            await reader.arrived.wait()
            reader.arrived.clear()
            while reader.items:
                item = reader.items.popleft()
                positions[item.stream] = _position(item)
                yield item
            if reader.overflowed:
                full, reader = reader, _Reader(positions)
                for stream in streams:
                    await _join(layer, stream, channel, positions)
                    # Nothing awaits between these two: no update is missed, and none comes twice.
                    layer.leave(stream, full)
                    _start(layer, stream, reader, positions)
    finally:
        for stream in streams:
            for each in (full, reader):
                layer.leave(stream, each)
        layer.detach(channel)


async def _join(
    layer: Any, stream: Stream, channel: str, positions: Mapping[Stream, Position]
) -> None:
    """Be told of a stream, and have what it did since; waits for a layer that is away."""
    while True:
        try:
            await layer.group_add(stream.group, channel)
            await layer.prepare(stream, _since(stream, positions))
        except BackendUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


def _start(layer: Any, stream: Stream, reader: _Reader, positions: dict[Stream, Position]) -> None:
    """Read a stream from where the reader stands, and queue what it has missed."""
    since = _since(stream, positions)
    for symbol, start in layer.start(stream, reader, since).items():
        one = Stream(stream.channel, symbol, stream.user_id)
        if start.recovered is False:
            first = since[symbol].offset + 1 if since[symbol].epoch == start.epoch else 1
            last = start.updates[0].offset - 1 if start.updates else start.offset
            reader.items.append(Lost(one, first, last, start.epoch))
        reader.items.extend(start.updates)
        positions[one] = Position(start.epoch, start.offset)
    if reader.items:
        reader.arrived.set()


def _since(stream: Stream, positions: Mapping[Stream, Position]) -> dict[str, Position]:
    return {known.symbol: place for known, place in positions.items() if _within(known, stream)}


def _within(known: Stream, stream: Stream) -> bool:
    return known == stream or (stream.wildcard and known.channel == stream.channel)


def _position(item: Update | Lost) -> Position:
    if isinstance(item, Update):
        return Position(item.epoch, item.offset)
    return Position(item.epoch, item.last)
