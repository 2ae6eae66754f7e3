"""The part of a channel layer that lives in one process and event loop, shared by both backends.

Channels, groups and capacity follow the channel-layer specification; streams come in addition, for
sockets that attach themselves.
"""

import asyncio
import copy
import itertools
import logging
import math
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from channels.exceptions import ChannelFull

from realtime.delivery.fanout import Fanout
from realtime.delivery.stream_state import History, Start, StreamState
from realtime.delivery.updates import Reader, Update
from realtime.protocol import Position
from realtime.streams import Stream

logger = logging.getLogger(__name__)

Message = dict[str, Any]
UPDATE: Final = "stream.update"
# Seconds after which a channel without receivers is forgotten. Channels has no call that closes
# one: when a consumer ends, its task is merely cancelled while it receives.
ABANDONED_SECONDS: Final = 10.0


# Immutable values, which receivers can share.
_SCALARS: Final = (str, int, float, bool, bytes, type(None))


def own_copy(message: Message) -> Message:
    """A copy of the message for one receiver; raises TypeError if it is not a valid message."""
    require_message(message)
    if all(isinstance(value, _SCALARS) for value in message.values()):
        return dict(message)
    return copy.deepcopy(message)


def require_message(message: object) -> None:
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict with a `type`, not {type(message).__name__}")


class Mailbox:
    """One channel of this process: a bounded queue, or a callback of an attached consumer."""

    __slots__ = ("callback", "calls", "capacity", "expiry", "groups", "queue", "receivers")

    def __init__(self, capacity: int, expiry: float = math.inf) -> None:
        self.capacity = capacity
        self.expiry = expiry  # seconds for which a message waits
        # The time when it expires, and the message.
        self.queue: asyncio.Queue[tuple[float, Message]] | None = None
        self.callback: Callable[[Message], None] | None = None
        self.groups: list[str] = []
        self.calls = 0  # of `get`, in total
        self.receivers = 0  # of `get`, waiting now

    def put(self, message: Message) -> None:
        """Raises ChannelFull when `capacity` messages wait."""
        if self.callback is not None:
            self.callback(message)
            return
        if self.queue is None:
            self.queue = asyncio.Queue()
        if self.queue.qsize() >= self.capacity:
            self.drop_expired()
        if self.queue.qsize() >= self.capacity:
            raise ChannelFull
        self.queue.put_nowait((time.monotonic() + self.expiry, message))

    @property
    def waiting(self) -> int:
        """Messages that have not been received yet, including expired ones."""
        return 0 if self.queue is None else self.queue.qsize()

    def drop_expired(self) -> None:
        if self.queue is None or self.expiry == math.inf:
            return
        kept = []
        while not self.queue.empty():
            entry = self.queue.get_nowait()
            if entry[0] > time.monotonic():
                kept.append(entry)
        for entry in kept:
            self.queue.put_nowait(entry)

    async def get(self) -> Message:
        if self.queue is None:
            self.queue = asyncio.Queue()
        self.calls += 1
        self.receivers += 1
        try:
            while True:
                expires_at, message = await self.queue.get()
                if expires_at > time.monotonic():
                    return message
        finally:
            self.receivers -= 1


class MailboxReader:
    """Stream updates for a consumer that did not attach: ordinary `stream.update` events."""

    def __init__(self, mailbox: Mailbox, group: str) -> None:
        self._mailbox = mailbox
        self._group = group

    @property
    def owner(self) -> object:
        return self._mailbox

    def deliver(self, update: Update) -> None:
        self._put(update.text)

    def deliver_snapshot(self, update: Update) -> None:
        self._put(update.snapshot_text)

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        pass  # such a consumer has no offsets to compare

    def deliver_state(self, stream: Stream, text: bytes) -> None:
        self._put(text)

    def _put(self, text: bytes) -> None:
        try:
            self._mailbox.put({"type": UPDATE, "text": text.decode()})
        except ChannelFull:
            logger.warning("a channel of group %s is full: an update was dropped", self._group)


class Local:
    """Mailboxes, groups and streams of one event loop."""

    def __init__(
        self, history: History, capacity: Callable[[str], int], expiry: float = math.inf
    ) -> None:
        self.capacity = capacity
        self.expiry = expiry
        self.process = uuid.uuid4().hex
        self.mailboxes: dict[str, Mailbox] = {}
        self.groups: dict[str, dict[str, None]] = {}
        self.fanout = Fanout(history)
        self._numbers = itertools.count(1)
        self._readers: dict[tuple[str, str], MailboxReader] = {}

    # Channels ---------------------------------------------------------------------------------

    def new_channel(self, prefix: str) -> str:
        name = f"{prefix}{self.process}!{next(self._numbers):x}"
        self.mailbox(name)
        return name

    def mailbox(self, channel: str) -> Mailbox:
        mailbox = self.mailboxes.get(channel)
        if mailbox is None:
            mailbox = Mailbox(self.capacity(channel), self.expiry)
            self.mailboxes[channel] = mailbox
        return mailbox

    def owns(self, channel: str) -> bool:
        """Whether this is a process-local channel (its name has a `!`) of this process."""
        return f"{self.process}!" in channel

    def attach(self, channel: str, callback: Callable[[Message], None]) -> None:
        """Pass messages for `channel` to `callback` as they come, instead of queuing them."""
        self.mailbox(channel).callback = callback

    def detach(self, channel: str) -> list[str]:
        """Forget a channel. Returns the groups that it leaves empty."""
        mailbox = self.mailboxes.get(channel)
        if mailbox is None:
            return []
        emptied = [group for group in tuple(mailbox.groups) if self.discard(group, channel)]
        del self.mailboxes[channel]
        return emptied

    # Groups -----------------------------------------------------------------------------------

    def add(self, group: str, channel: str) -> None:
        members = self.groups.setdefault(group, {})
        if channel not in members:
            members[channel] = None
            self.mailboxes[channel].groups.append(group)

    def discard(self, group: str, channel: str) -> bool:
        """Take a channel out of a group; True if the group is empty now."""
        members = self.groups.get(group)
        if members is None or channel not in members:
            return False
        del members[channel]
        if channel in self.mailboxes:
            self.mailboxes[channel].groups.remove(group)
        reader = self._readers.pop((group, channel), None)
        stream = Stream.from_group(group)
        if reader is not None and stream is not None:
            self.fanout.leave(stream, reader)
        if members:
            return False
        del self.groups[group]
        return True

    def deliver_group(self, group: str, message: Message) -> None:
        """Deliver an ordinary group message. A full channel drops it, as the specification says."""
        for channel in tuple(self.groups.get(group, ())):
            mailbox = self.mailboxes.get(channel)
            if mailbox is None:
                continue
            try:
                mailbox.put(own_copy(message))
            except ChannelFull:
                logger.warning(
                    "channel %s of group %s is full: a message was dropped", channel, group
                )

    # Streams ----------------------------------------------------------------------------------

    async def read_by_mailbox(self, stream: Stream, channel: str) -> None:
        """Let a consumer that did not attach read a stream through its channel.

        It receives every update that is published after this has returned.
        """
        mailbox = self.mailbox(channel)
        if mailbox.callback is not None or (stream.group, channel) in self._readers:
            return
        reader = self._readers[stream.group, channel] = MailboxReader(mailbox, stream.group)
        await self.prepare(stream, {})
        if (stream.group, channel) in self._readers:  # it has not left again meanwhile
            self.fanout.join(stream, reader)

    async def prepare(self, stream: Stream, since: Mapping[str, Position]) -> None:
        """Read the position of a stream (of all streams for `*`), and the updates after `since`."""

        async def one(state: StreamState) -> None:
            await self.fanout.ready(state)
            position = since.get(state.stream.symbol)
            if position is not None:
                await self.fanout.cover(state, position)

        await asyncio.gather(*(one(state) for state in self._states(stream)))

    def is_ready(self, stream: Stream, since: Mapping[str, Position]) -> bool:
        """Whether `start` may be called without `prepare`."""
        if stream.wildcard and stream.channel not in self.fanout.complete:
            return False
        return all(
            state.ready and not state.needs_history(since.get(state.stream.symbol))
            for state in self._states(stream)
        )

    def start(
        self, stream: Stream, reader: Reader, since: Mapping[str, Position], limit: int
    ) -> dict[str, Start]:
        """Join a reader; returns its start in each stream, by symbol.

        Streams of `*` without updates are omitted: the reader learns of one with its first update.
        """
        starts = {
            state.stream.symbol: self.fanout.start(state, since.get(state.stream.symbol), limit)
            for state in self._states(stream)
            if state.born or not stream.wildcard
        }
        self.fanout.join(stream, reader)
        return starts

    def _states(self, stream: Stream) -> list[StreamState]:
        if stream.wildcard:
            return self.fanout.channel_states(stream.channel)
        return [self.fanout.state(stream)]
