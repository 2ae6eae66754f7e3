"""One stream as one process knows it, and the pages of its history. No I/O."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from realtime.delivery.staleness import rhythm_for
from realtime.delivery.updates import NO_EPOCH, Reader, Update
from realtime.protocol import Position
from realtime.streams import Stream

# Updates kept in the process per stream, so that a reconnecting crowd does not need Redis.
RECENT: Final = 300
# The beginning of a future epoch of a stream without updates, the same in every run of Redis.
UNBORN_CHARS: Final = 10


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a stream's history: its head, and updates in order, without a hole.

    `updates` ends at `offset`, or is empty. `more`: `offset` is not the head yet, and the next page
    starts after it. `forks`: the epochs that this one continues, each with the last offset that
    both share.
    """

    epoch: str
    offset: int
    updates: Sequence[Update]
    more: bool = False
    forks: Mapping[str, int] = field(default_factory=dict)

    def known(self, position: Position | None) -> int:
        """The offset up to which a reader at `position` has the updates of this epoch."""
        if position is None:
            return 0
        if position.epoch == self.epoch:
            return position.offset
        return min(position.offset, self.forks.get(position.epoch, 0))

    def after(self, position: Position | None) -> list[Update]:
        """The held updates that a reader at `position` has not received."""
        known = self.known(position)
        return [update for update in self.updates if update.offset > known]

    def continues(self, position: Position) -> bool:
        """Whether this epoch has every update that a reader at `position` has received."""
        same = position.epoch in (self.epoch, NO_EPOCH)
        return same or position.offset <= self.forks.get(position.epoch, -1)

    def gap_after(self, position: Position) -> tuple[int, int] | None:
        """The first and last offset that a reader at `position` has lost; None if it has lost none.

        A last offset before the first: no update is lost, but the numbering continues after it.
        """
        had = self.known(position)
        first = self.updates[0].offset if self.updates else self.offset + 1
        whole = self.continues(position) and first <= had + 1
        return None if whole else (had + 1, first - 1)


@dataclass(frozen=True, slots=True)
class Start:
    """The start of a subscription.

    `recovered` is None if the reader did not ask to resume. `updates` are the missed ones if the
    reader was recovered, else at most one: the snapshot. `status` is the message for a stale
    stream. `turns_to` is the epoch of `updates`, if it has replaced `epoch`.
    """

    epoch: str
    offset: int
    recovered: bool | None
    updates: Sequence[Update]
    status: bytes | None = None
    turns_to: str = ""

    @property
    def head(self) -> int:
        """The reader's position once it has received the updates."""
        return self.updates[-1].offset if self.updates else self.offset


class StreamState:
    """One stream as this process has delivered it."""

    __slots__ = (
        "again",
        "asked",
        "born",
        "epoch",
        "forks",
        "heard",
        "hold_until",
        "moved",
        "new",
        "offset",
        "readers",
        "ready",
        "reason",
        "recent",
        "resync",
        "rhythm",
        "stale",
        "stream",
        "waiting",
    )

    def __init__(self, stream: Stream, *, new: bool) -> None:
        self.stream = stream
        self.new = new  # the stream did not exist when this process looked
        self.epoch = NO_EPOCH
        self.offset = 0
        self.forks: Mapping[str, int] = {}  # see Page
        self.born = False  # an update has arrived
        self.moved = 0.0  # when it reached its present offset here
        self.ready = False  # whether the position was read from the history at least once
        self.recent: deque[Update] = deque()
        self.hold_until = 0.0  # until then a reader may need all of `recent`
        self.readers: dict[object, Reader] = {}  # by owner
        # Updates that arrive while a hole is being filled; None while there is no hole.
        self.waiting: list[Update] | None = None
        self.resync: asyncio.Task[None] | None = None
        self.again = False  # the expected answer may predate a reconnect: read again
        # See delivery/staleness.py.
        self.heard: float | None = None
        self.rhythm = rhythm_for(stream.channel)
        self.stale = False
        self.reason = ""
        self.asked = False

    @property
    def settled(self) -> bool:
        """Whether no pending answer can change the position."""
        return self.resync is None and self.waiting is None

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)

    def continues(self, since: Position) -> bool:
        """Whether a reader knows this numbering.

        A reader that joined before the first update has the empty epoch and offset 0, or the epoch
        that the stream would have had without the restart of Redis.
        """
        if since.epoch == self.epoch or since.offset <= self.forks.get(since.epoch, -1):
            return True
        asked = (NO_EPOCH, self.epoch[:UNBORN_CHARS])
        return since.offset == 0 and since.epoch[:UNBORN_CHARS] in asked

    def covers(self, offset: int) -> bool:
        """Whether every update after `offset` is in memory."""
        if offset >= self.offset:
            return True
        return bool(self.recent) and self.recent[0].offset <= offset + 1

    def needs_history(self, since: Position | None) -> bool:
        """Whether the history may have more for a reader at `since`."""
        if since is None or not self.continues(since):
            return False
        return self.is_behind(since) or (
            not self.covers(since.offset) and self.offset - since.offset <= RECENT
        )

    def start(self, since: Position | None, limit: int, status: bytes | None) -> Start:
        """Where a new reader starts that missed at most `limit` updates, else has a snapshot."""
        if since is not None:
            missed = self.offset - since.offset
            if self.continues(since) and 0 <= missed <= limit and self.covers(since.offset):
                updates = self.after(since.offset)
                if since.epoch in (self.epoch, NO_EPOCH):
                    return Start(self.epoch, self.offset, True, updates, status)
                return Start(since.epoch, since.offset, True, updates, status, self.epoch)
        newest = [self.recent[-1]] if self.recent else []
        recovered = None if since is None else False
        return Start(self.epoch, self.offset, recovered, newest, status)

    def is_behind(self, since: Position) -> bool:
        """Whether a reader has received more, from a process that is ahead."""
        return since.offset > self.offset

    def contradicts(self, update: Update) -> bool:
        """Whether another update is known under this offset."""
        if not self.recent:
            return False
        index = update.offset - self.recent[0].offset
        return 0 <= index < len(self.recent) and self.recent[index].body != update.body

    def after(self, offset: int) -> list[Update]:
        if offset >= self.offset:
            return []
        return [update for update in self.recent if update.offset > offset]

    def adopt(self, update: Update, keep: int) -> None:
        """Make an update the newest one; remember `keep` of them."""
        self.epoch = update.epoch
        self.offset = update.offset
        self.heard = self.moved = now = time.monotonic()
        self.recent.append(update)
        self.trim(keep if now >= self.hold_until else RECENT)

    def trim(self, keep: int) -> None:
        """Forget all but the newest `keep`."""
        recent = self.recent
        while len(recent) > keep:
            recent.popleft()


class History(Protocol):
    """The histories of streams that a backend keeps."""

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        """All held updates after `since`, at most RECENT of them.

        Only the newest one if `since` is None or further back. A position of another epoch, and the
        empty one, stand before the first update. A stream without updates has the epoch that they
        will have. Raises BackendUnavailable.
        """

    async def read_newest(self, stream: Stream, count: int) -> Page:
        """The newest `count` updates, or all that are held. Raises BackendUnavailable."""

    async def read_after(self, stream: Stream, position: Position) -> Page:
        """The first RECENT held updates after a position, however far back it is.

        After a position of another epoch, from the first held update. Otherwise as `read_history`.
        """

    async def restart_stream(self, stream: Stream, epoch: str, common: int) -> None:
        """End `epoch`, unless it has ended already: the history has lost updates that were sent.

        The next epoch continues after `common`, the last offset that still names the same update.
        """
