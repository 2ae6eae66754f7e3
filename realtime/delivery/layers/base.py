"""The base of this project's channel layers, with what they offer beyond Channels."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from channels.layers import BaseChannelLayer

from realtime.conf import conf
from realtime.delivery import process_layer
from realtime.delivery.history_scripts import Published
from realtime.delivery.process_layer import Local, Mailbox, Message
from realtime.delivery.stream_state import Page, Start, StreamState
from realtime.delivery.updates import Reader
from realtime.protocol import Position
from realtime.streams import Channel, Stream

T = TypeVar("T")
EXTENSION: Final = "streams"

# An update and its optional id: a second update with the same id in a stream is not published.
Item = tuple[Stream, bytes] | tuple[Stream, bytes, str]


class StreamLayer(BaseChannelLayer):
    """The common part of the two backends; one instance belongs to one event loop."""

    extensions = ["groups", "flush", EXTENSION]
    prefix = "asgi"  # of keys in Redis

    def __init__(self, expiry: float = math.inf, **capacities: object) -> None:
        """`capacity` and `channel_capacity` as the specification has them."""
        super().__init__(expiry=expiry, **capacities)  # type: ignore[arg-type]  # not only int
        self.local = Local(self, self.get_capacity, expiry)
        self._parts: dict[object, object] = {}

    # The extension "streams" ------------------------------------------------------------------

    async def send_updates(self, items: Sequence[Item]) -> list[Published]:
        """Publish updates; each gets its stream's next offset."""
        raise NotImplementedError

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        raise NotImplementedError

    async def read_after(self, stream: Stream, position: Position) -> Page:
        raise NotImplementedError

    async def read_newest(self, stream: Stream, count: int) -> Page:
        """The newest `count` updates, or all that are held if they are fewer."""
        raise NotImplementedError

    async def restart_stream(self, stream: Stream, epoch: str, common: int) -> None:
        raise NotImplementedError

    async def find_streams(self, channel: Channel) -> list[Stream]:
        """Every stream of a channel that has had an update; raises BackendUnavailable."""
        raise NotImplementedError

    def attach(self, channel: str, callback: Callable[[Message], None]) -> None:
        """Give messages for `channel` to `callback` instead of a queue."""
        self.local.attach(channel, callback)

    def detach(self, channel: str) -> None:
        """Forget a channel and all its groups; for a socket that has closed."""
        self._linger(self.local.detach(channel))

    def is_ready(self, stream: Stream, since: Mapping[str, Position]) -> bool:
        return self.local.is_ready(stream, since)

    async def prepare(self, stream: Stream, since: Mapping[str, Position]) -> None:
        await self.local.prepare(stream, since)

    def start(
        self, stream: Stream, reader: Reader, since: Mapping[str, Position]
    ) -> dict[str, Start]:
        return self.local.start(stream, reader, since, conf.REALTIME_RECOVERY_LIMIT)

    def start_every(self, stream: Stream, reader: Reader) -> list[StreamState]:
        """`start` for a `*` without positions: cheap even with thousands of streams."""
        fanout = self.local.fanout
        fanout.join(stream, reader)
        return fanout.born(stream.channel)

    def status(self, state: StreamState) -> bytes:
        """The message that tells whether a stream is stale."""
        return self.local.fanout.freshness.text(state)

    def join(self, stream: Stream, reader: Reader) -> None:
        """Join without a start: for a reader that replaces another one."""
        self.local.fanout.join(stream, reader)

    def leave(self, stream: Stream, reader: Reader) -> None:
        self.local.fanout.leave(stream, reader)

    def positions(self, streams: Sequence[Stream]) -> dict[str, tuple[str, int]]:
        """Epoch and newest offset of each stream (all that have updates, for `*`), by symbol."""
        named = {stream.symbol for stream in streams}
        positions = self.local.fanout.positions(streams)
        return {name: at for name, at in positions.items() if at[1] or name in named}

    def heads(self, streams: Sequence[Stream]) -> dict[str, int]:
        """The newest offset of each stream, by symbol."""
        return {name: offset for name, (_, offset) in self.positions(streams).items()}

    def moved(self, stream: Stream, since: float, most: int) -> tuple[dict[str, int], float]:
        """The newest offsets of the streams of a `*` that have changed, by symbol.

        About `most` streams, those that changed first after `since` (on the clock of
        `time.monotonic`), and the time up to which they are complete.
        """
        return self.local.fanout.moved(stream.channel, since, most)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the backend is back: messages sent to groups meanwhile are lost."""

    def part(self, make: Callable[["StreamLayer"], T]) -> T:
        """The part that another package adds to this layer: built by `make` once until `flush`."""
        if make not in self._parts:
            self._parts[make] = make(self)
        return cast(T, self._parts[make])

    async def ask_group(self, group: str, message: Message) -> int:
        """`group_send` of what is not an update; returns how many processes it has reached."""
        await self.group_send(group, message)
        return 1

    async def settle(self) -> None:
        """Wait, a second at most, until the numbers of this process are written."""

    async def execute(self, *command: str | bytes | float) -> Any:
        """Run a command on the first shard; None without Redis. Raises BackendUnavailable."""

    def _linger(self, groups: Sequence[str]) -> None:
        """These groups have no members any more."""
        for group in groups:
            self.local.fanout.forget_unborn(group)

    # Channels and groups ----------------------------------------------------------------------

    async def new_channel(self, prefix: str = "specific.") -> str:
        return self.local.new_channel(prefix)

    async def receive(self, channel: str) -> Message:
        self.require_valid_channel_name(channel)
        mailbox = self.local.mailbox(channel)
        try:
            return await mailbox.get()
        except asyncio.CancelledError:
            loop = asyncio.get_running_loop()
            loop.call_later(
                process_layer.ABANDONED_SECONDS, self._abandon, channel, mailbox, mailbox.calls
            )
            raise

    def _abandon(self, channel: str, mailbox: Mailbox, calls: int) -> None:
        """Forget a channel, unless a `receive` was called on it after the `calls`th one."""
        if self.local.mailboxes.get(channel) is not mailbox:
            return
        if mailbox.receivers == 0 and mailbox.calls == calls:
            self.detach(channel)

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if channel not in self.local.mailboxes:
            raise RuntimeError(
                f"group_add() takes channels of this process, which {channel!r} is not. Consumers "
                f"call self.channel_layer.group_add({group!r}, self.channel_name)."
            )
        self.local.add(group, channel)
        stream = Stream.from_group(group)
        await self._watch(group, stream)
        if stream is not None:
            await self.local.read_by_mailbox(stream, channel)

    async def _watch(self, group: str, stream: Stream | None) -> None:
        """Receive messages sent to a group from now on."""

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        if self.local.discard(group, channel):
            self._linger([group])
