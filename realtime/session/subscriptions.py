"""The streams of one socket: joining their groups, where each subscription starts, leaving.

First the group, then the snapshot: a duplicate is harmless, a gap is not.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from channels.layers import BaseChannelLayer

from realtime import protocol
from realtime.delivery.heartbeat import Pings
from realtime.delivery.layers import StreamLayer, loop_layer
from realtime.delivery.outbox import SNAPSHOT, Topic
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.readers import AlertFilter, SocketReader
from realtime.delivery.sockets import Socket
from realtime.delivery.stream_state import Start, StreamState
from realtime.delivery.updates import Reader
from realtime.protocol import StreamInfo
from realtime.session.requests import Change
from realtime.streams import WILDCARD, Stream

Answer = Callable[[dict[str, StreamInfo]], protocol.ServerMessage]
# The reader for a stream; None stands for the socket itself.
MakeReader = Callable[[Stream, float | None], Reader | None]
# The share of the outbox for missed updates; the rest is for updates that come meanwhile.
REPLAY_SHARE: Final = 0.75
# Bytes that the offset adds to the stored body of an update, about.
OFFSET_BYTES: Final = 24
# An answer that names every stream may be larger than the outbox of a slow reader.
ANSWER: Final[Topic] = ("answer", None)
# Symbols of `*` in one ping.
MAX_HEADS: Final = 500


class Subscriptions:
    """`streams` by symbol, in the order in which they were subscribed to."""

    __slots__ = (
        "_channel_name",
        "_groups",
        "_heads_since",
        "_layer",
        "_readers",
        "_socket",
        "replayed",
        "streams",
    )

    def __init__(self, layer: BaseChannelLayer, channel_name: str, socket: Socket) -> None:
        self.streams: dict[str, Stream] = {}
        self.replayed = 0
        self._groups = layer
        self._layer = loop_layer(layer)
        self._channel_name = channel_name
        self._socket = socket
        self._readers: dict[str, Reader] = {}
        # Changes to the streams of `*` up to this time (of `time.monotonic`) have been in pings.
        self._heads_since = 0.0

    @property
    def numbered(self) -> bool:
        """Whether updates have offsets."""
        return self._layer is not None

    @property
    def symbols(self) -> list[str]:
        return list(self.streams)

    async def join_groups(self, change: Change, patience: float) -> bool:
        """Join the groups; True once all positions are known, False if that takes too long.

        Nothing is delivered before `apply`.
        """
        layer = self._layer
        if layer is None or not any(stream.wildcard for stream in change.join):
            for stream in change.join:
                await self._groups.group_add(stream.group, self._channel_name)
            if layer is None or all(layer.is_ready(each, change.since) for each in change.join):
                return True
        try:
            async with asyncio.timeout(patience):
                for stream in change.join:
                    await layer.group_add(stream.group, self._channel_name)
                for stream in change.join:
                    if not layer.is_ready(stream, change.since):
                        await layer.prepare(stream, change.since)
        except (TimeoutError, BackendUnavailable):
            return False
        return True

    def apply(self, change: Change, make_reader: MakeReader, answer: Answer) -> None:
        """Change the subscriptions, answer, and send missed updates, all without an await."""
        starts: dict[str, Start] = {}
        every: list[StreamState] = []
        layer = self._layer
        for stream in change.join:
            self.streams[stream.symbol] = stream
            if layer is None:
                continue
            if stream.wildcard and not change.since:
                every = self._start_every(layer, stream, change, make_reader)
            else:
                starts.update(self._start(layer, stream, change, make_reader))
        if WILDCARD in self.streams:
            self._heads_since = float(int(time.monotonic()))  # equal ones share pings
        outbox = self._socket.outbox
        starts = _within(starts, int(outbox.limit * REPLAY_SHARE) - outbox.size)
        infos = {each.stream.symbol: StreamInfo(each.epoch, each.offset) for each in every}
        infos |= {name: _info(start) for name, start in starts.items()}
        self._socket.hold()
        self._socket.send_once(ANSWER, protocol.encode(answer(infos)))
        if layer is not None:
            self._send_every(layer, every)
        for name, start in starts.items():
            self._send(name, start)
        self._socket.release()

    def _start_every(
        self, layer: StreamLayer, stream: Stream, change: Change, make_reader: MakeReader
    ) -> list[StreamState]:
        reader = make_reader(stream, change.max_rate) or self._socket
        self._replace(stream, reader)
        every = layer.start_every(stream, reader)
        if isinstance(reader, SocketReader):
            reader.heads.update({each.stream.symbol: each.offset for each in every})
        return every

    def _send_every(self, layer: StreamLayer, every: list[StreamState]) -> None:
        snapshots = [each.recent[-1] for each in every if each.recent]
        if snapshots:
            self._socket.send_snapshots(snapshots)
        for each in every:
            if each.stale:
                self._socket.deliver_state(each.stream, layer.status(each))

    def _start(
        self, layer: StreamLayer, stream: Stream, change: Change, make_reader: MakeReader
    ) -> dict[str, Start]:
        reader = make_reader(stream, change.max_rate) or self._default_reader(stream)
        self._replace(stream, reader)
        started = layer.start(stream, reader, change.since)
        if isinstance(reader, SocketReader):
            reader.heads.update({name: start.head for name, start in started.items()})
        return started

    def _default_reader(self, stream: Stream) -> Reader:
        # The same reader as for `*`, so that the fan-out delivers only once.
        wildcard = None if stream.wildcard else self._readers.get(WILDCARD)
        return wildcard or self._socket

    def _replace(self, stream: Stream, reader: Reader | None) -> None:
        old = self._readers.pop(stream.symbol, None)
        if reader is not None:
            self._readers[stream.symbol] = reader
        if old is not None and self._layer is not None:
            self._layer.leave(stream, old)
            if isinstance(old, SocketReader) and old not in self._readers.values():
                old.close()

    def _send(self, name: str, start: Start) -> None:
        if start.turns_to:
            self._tell_turn(name, start)
        if start.recovered:
            self.replayed += len(start.updates)
        for update in start.updates:
            reader = self._readers.get(update.stream.symbol)
            if start.recovered and isinstance(reader, AlertFilter):
                reader.replay(update)
            elif start.recovered:
                self._socket.send(update.replayed_text)
            elif update.stream.channel != "alerts":  # an old alert is not a snapshot
                self._socket.send_once((SNAPSHOT, update.stream), update)
        if start.status is not None:
            self._socket.send_once((f"status of {name}", None), start.status)

    def _tell_turn(self, name: str, start: Start) -> None:
        """Tell a client that knows the epoch before that its offsets continue in the next one."""
        gap = protocol.Gap(
            symbol=name, from_offset=start.offset + 1, to_offset=start.offset, epoch=start.turns_to
        )
        self._socket.send(protocol.encode(gap))

    async def leave(self, streams: list[Stream]) -> None:
        for stream in streams:
            self.streams.pop(stream.symbol, None)
            self._replace(stream, None)
        for stream in streams:
            await self._groups.group_discard(stream.group, self._channel_name)

    def read_again(self, make_reader: MakeReader) -> None:
        """Replace the present readers by others, in one step."""
        for name, stream in self.streams.items():
            if self._layer is None or name not in self._readers:
                continue
            reader = make_reader(stream, None) or self._socket
            before = self._readers[name]
            if isinstance(before, AlertFilter):
                if not isinstance(reader, AlertFilter):
                    reader = AlertFilter(self._socket, None, None)
                reader.continue_from(before)
            elif isinstance(reader, SocketReader):
                reader.heads.update(self.heads())
            self._replace(stream, reader)
            self._layer.join(stream, reader)

    def close(self) -> None:
        """Close the readers of a closed socket; `detach` removes its channel from the groups."""
        for name in tuple(self._readers):
            self._replace(self.streams[name], None)

    # Positions --------------------------------------------------------------------------------

    @property
    def plain(self) -> bool:
        """Whether every reader lets everything through: such sockets share their pings."""
        return all(reader is self._socket for reader in self._readers.values())

    def heads(self) -> dict[str, int]:
        """The newest offset of each stream that was sent to this socket."""
        if self._layer is None:
            return {}
        heads = self._layer.heads(tuple(self.streams.values()))
        return {name: self._head(name, offset) for name, offset in heads.items()}

    def ping(self, texts: Pings) -> bytes:
        """The `ping` of this socket, from the shared ones in `texts` or added to them."""
        key = (*(stream.group for stream in self.streams.values()), str(self._heads_since))
        known = texts.get(key) if self.plain else None
        if known is None:
            heads, until = self._heads_to_tell()
            known = protocol.encode(protocol.Ping(heads=heads)), until
            if self.plain:
                texts[key] = known
        text, self._heads_since = known
        return text

    def _heads_to_tell(self) -> tuple[dict[str, int], float]:
        """The heads of `*` that moved since the last ping, and up to when they are complete."""
        every = self.streams.get(WILDCARD)
        if every is None or self._layer is None:
            return self.heads(), self._heads_since
        named = [stream for stream in self.streams.values() if stream is not every]
        moved, until = self._layer.moved(every, self._heads_since, MAX_HEADS)
        heads = {**moved, **self._layer.heads(named)}
        return {name: self._head(name, offset) for name, offset in heads.items()}, until

    def positions(self) -> dict[str, StreamInfo]:
        """The position of this socket in each of its streams."""
        if self._layer is None:
            return {}
        positions = self._layer.positions(tuple(self.streams.values()))
        return {
            name: StreamInfo(epoch=epoch, offset=self._head(name, offset))
            for name, (epoch, offset) in positions.items()
        }

    def _head(self, symbol: str, offset: int) -> int:
        """The newest offset that was sent: a reader that holds updates back knows it itself."""
        reader = self._readers.get(symbol) or self._readers.get(WILDCARD)
        return reader.heads.get(symbol, offset) if isinstance(reader, SocketReader) else offset


def _within(starts: dict[str, Start], most: int) -> dict[str, Start]:
    """The streams to recover: the first ones whose updates fit into so many bytes together.

    All updates at once would be too much for a socket, however fast it reads. The other streams
    start with a snapshot, like those whose history is gone; the client can ask for their updates
    again.
    """
    chosen: dict[str, Start] = {}
    for name, start in starts.items():
        chosen[name] = start
        if not start.recovered:
            continue
        size = sum(len(update.body) + OFFSET_BYTES for update in start.updates)
        if size <= most:
            most -= size
        else:
            chosen[name] = Start(
                start.turns_to or start.epoch, start.head, False, start.updates[-1:], start.status
            )
    return chosen


def _info(start: Start) -> StreamInfo:
    info = StreamInfo(epoch=start.epoch, offset=start.offset)
    if start.recovered is not None:
        info.recovered = start.recovered
        info.replayed = len(start.updates) if start.recovered else 0
    return info
