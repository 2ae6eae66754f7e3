"""Reading streams inside the server, with the same offsets and the same resume as a client.

    async for item in subscribe([Stream("market-data", "AAPL")], since=positions):
        if isinstance(item, Lost): ...
        else: use(item.data)

For engines and recorders, which run in processes of their own and must not miss an update.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from msgspec import UnsetType

from realtime.delivery.layers import StreamLayer, required_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.stream_state import Page
from realtime.delivery.updates import NO_EPOCH, Update
from realtime.protocol import Position, parse_stream_status
from realtime.streams import WILDCARD, Stream

# Updates that may wait for a reader. A reader that falls further behind continues from the history.
MAX_WAITING: Final = 10_000
# Seconds until the next attempt when the layer could not be reached.
RETRY_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Lost:
    """Updates `first` to `last` of `epoch` are no longer held; reading continues after them.

    `last < first`: no update of this epoch is missing, but the last ones of the epoch before are.
    """

    stream: Stream
    first: int
    last: int
    epoch: str


@dataclass(frozen=True, slots=True)
class FreshnessChange:
    """A stream became stale (quiet for longer than expected, or unreachable) or fresh again.

    `reason` is empty for a quiet stream, and `backend_unavailable` while no update can arrive.
    """

    stream: Stream
    stale: bool
    last_update: datetime | None
    expected_every: float | None
    reason: str = ""


StreamEvent = Update | Lost | FreshnessChange


class _Reader:
    """Queues the updates of streams up to a limit; beyond it, `positions` say where to continue."""

    def __init__(self, positions: dict[Stream, Position], *, updates: bool, states: bool) -> None:
        self.items: deque[StreamEvent] = deque()
        self.overflowed = False
        self.arrived = asyncio.Event()
        self._positions = positions
        self._updates = updates
        self._states = states

    @property
    def owner(self) -> object:
        return self

    def start(self, items: Sequence[Update | Lost], stream: Stream, status: bytes | None) -> None:
        """Take the updates that a stream has for a new reader."""
        if self._updates:
            self.items.extend(items)
        if status is not None:
            self.deliver_state(stream, status)
        if self.items:
            self.arrived.set()

    def put(self, item: Update | Lost, before: Position) -> None:
        if not self._updates:
            return
        self.overflowed = self.overflowed or len(self.items) >= MAX_WAITING
        if self.overflowed:
            # Nothing was read from this stream yet: reading starts here.
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
        if self._states:
            self.items.append(_status(stream, text))
            self.arrived.set()


async def subscribe(
    streams: Sequence[Stream], since: Mapping[Stream, Position] | None = None
) -> AsyncGenerator[Update | Lost, None]:
    """Yield the updates of the streams, in order and without a hole, from `since` (or now) on.

    However far back a position is, all updates that are still held are yielded, and Lost stands for
    the others. A stream without a position in `since` starts with its newest update. With `*` and a
    `since`, even an empty one, a stream without a position counts as new and starts with its first
    update. Ends when the caller stops iterating. Raises ImproperlyConfigured with a channel layer
    that has no streams.
    """
    async with aclosing(_follow(streams, since, updates=True, states=False)) as items:
        async for item in items:
            if not isinstance(item, FreshnessChange):
                yield item


async def follow_status(streams: Sequence[Stream]) -> AsyncGenerator[FreshnessChange, None]:
    """Yield when a stream becomes stale or fresh. Its updates are skipped, at almost no cost.

    A stream that is already stale at the start is reported too. The same state may be reported more
    than once.
    """
    async with aclosing(_follow(streams, None, updates=False, states=True)) as items:
        async for item in items:
            if isinstance(item, FreshnessChange):
                yield item


async def _follow(
    streams: Sequence[Stream],
    since: Mapping[Stream, Position] | None,
    *,
    updates: bool,
    states: bool,
) -> AsyncGenerator[StreamEvent, None]:
    layer = required_layer()
    positions = dict(since or {})
    knows_all = since is not None
    channel = await layer.new_channel()
    layer.attach(channel, lambda message: None)
    make_reader = partial(_Reader, positions, updates=updates, states=states)
    reader = full = make_reader()
    try:
        await _join_all(layer, streams, channel, positions, knows_all=knows_all)
        async for missed in _missed(layer, streams, positions):
            yield missed
        await _join_all(layer, streams, channel, positions, knows_all=knows_all)
        for stream in streams:
            _start(layer, stream, reader, positions)
        while True:
            await reader.arrived.wait()
            reader.arrived.clear()
            while reader.items:
                item = reader.items.popleft()
                if not isinstance(item, FreshnessChange):
                    before = positions.get(item.stream)
                    positions[item.stream] = _position(item)
                    if isinstance(item, Lost) and _nothing(item, before):
                        continue
                yield item
            if reader.overflowed:
                if updates:
                    async for missed in _missed(layer, streams, positions):
                        yield missed
                full, reader = reader, make_reader()
                await _join_all(layer, streams, channel, positions, knows_all=knows_all)
                for stream in streams:
                    # No await from here on: no update is missed, and none is yielded twice.
                    layer.leave(stream, full)
                    _start(layer, stream, reader, positions)
    finally:
        for stream in streams:
            for each in (full, reader):
                layer.leave(stream, each)
        layer.detach(channel)


async def _join_all(
    layer: StreamLayer,
    streams: Sequence[Stream],
    channel: str,
    positions: dict[Stream, Position],
    *,
    knows_all: bool,
) -> None:
    """Join the streams and queue the updates since; nothing awaits after the last look."""
    more = True
    while more:
        for stream in streams:
            await _join(layer, stream, channel, positions)
        more = knows_all and _begin_new_ones(layer, streams, positions)


def _begin_new_ones(
    layer: StreamLayer, streams: Sequence[Stream], positions: dict[Stream, Position]
) -> bool:
    """Whether a `*` has streams that the reader does not know yet, since they are new.

    They are read from their first update on.
    """
    before = len(positions)
    for wildcard in [stream for stream in streams if stream.wildcard]:
        for symbol in layer.positions([wildcard]):
            positions.setdefault(Stream(wildcard.channel, symbol), Position(NO_EPOCH, 0))
    return len(positions) > before


async def _missed(
    layer: StreamLayer, streams: Sequence[Stream], positions: dict[Stream, Position]
) -> AsyncGenerator[Update | Lost, None]:
    """Yield the updates after the positions, up to about the head, and move the positions on.

    A socket that missed this much gets a snapshot; a reader inside the server gets all held
    updates.
    """
    wanted = set(streams)
    known = [
        stream for stream in positions
        if stream in wanted or Stream(stream.channel, WILDCARD) in wanted
    ]  # fmt: skip
    for stream in known:
        if _is_at_head(layer, stream, positions[stream]):
            continue
        more = True
        while more:
            before = positions[stream]
            page = await _read_after(layer, stream, before)
            lost = page.gap_after(before)
            if lost is not None:
                # Before the position moves on: a reader that stops here reads this update again.
                yield Lost(stream, *lost, page.epoch)
            for update in page.updates:
                positions[stream] = _position(update)
                yield update
            positions[stream] = Position(page.epoch, page.offset)
            more = page.more


def _is_at_head(layer: StreamLayer, stream: Stream, position: Position) -> bool:
    """Whether the reader has missed nothing. Most streams are quiet and need not be read."""
    at = layer.positions([stream]).get(stream.symbol)
    here = position.epoch, position.offset
    return at == here and layer.is_ready(stream, {stream.symbol: position})


async def _read_after(layer: StreamLayer, stream: Stream, position: Position) -> Page:
    while True:
        try:
            page = await layer.read_after(stream, position)
        except BackendUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return page


async def _join(
    layer: StreamLayer, stream: Stream, channel: str, positions: Mapping[Stream, Position]
) -> None:
    """Join a stream and queue its updates since; waits while the layer is unavailable."""
    while True:
        try:
            await layer.group_add(stream.group, channel)
            await layer.prepare(stream, _since(stream, positions))
        except BackendUnavailable:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


def _start(
    layer: StreamLayer, stream: Stream, reader: _Reader, positions: dict[Stream, Position]
) -> None:
    """Read a stream from the reader's position, and queue the updates it has missed."""
    since = _since(stream, positions)
    for symbol, start in layer.start(stream, reader, since).items():
        one = Stream(stream.channel, symbol, stream.user_id)
        items: list[Update | Lost] = []
        if start.recovered is False:
            first = since[symbol].offset + 1 if since[symbol].epoch == start.epoch else 1
            last = start.updates[0].offset - 1 if start.updates else start.offset
            items.append(Lost(one, first, last, start.epoch))
        reader.start([*items, *start.updates], one, start.status)
        positions[one] = Position(start.epoch, start.offset)


def _nothing(lost: Lost, before: Position | None) -> bool:
    """Only the epoch has changed, and the new one continues at the reader's position."""
    return lost.last < lost.first and before is not None and before.offset == lost.last


def _since(stream: Stream, positions: Mapping[Stream, Position]) -> dict[str, Position]:
    if not stream.wildcard:
        return {stream.symbol: positions[stream]} if stream in positions else {}
    return {
        known.symbol: place for known, place in positions.items() if known.channel == stream.channel
    }


def _status(stream: Stream, text: bytes) -> FreshnessChange:
    message = parse_stream_status(text)
    last = message.last_update
    return FreshnessChange(
        stream=stream,
        stale=message.state == "stale",
        last_update=None if last is None else datetime.fromisoformat(last),
        expected_every=message.expected_every,
        reason="" if isinstance(message.reason, UnsetType) else message.reason,
    )


def _position(item: Update | Lost) -> Position:
    if isinstance(item, Update):
        return Position(item.epoch, item.offset)
    return Position(item.epoch, item.last)
