"""One stream as one process knows it, and what is read of its history. No I/O."""

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

# Updates kept in the process per stream, so that a crowd that reconnects does not ask Redis.
RECENT: Final = 300
# How the epoch that a stream without updates will have begins, whichever run of Redis it is.
UNBORN_CHARS: Final = 10


@dataclass(frozen=True, slots=True)
class Page:
    """What the history of a stream holds: its head, and updates in order, without a hole.

    `updates` ends at `offset`, or is empty. `more`: `offset` is not the head yet, the next page
    begins behind it. `forks`: the epochs that this one continues, each with the last offset that
    both share.
    """

    epoch: str
    offset: int
    updates: Sequence[Update]
    more: bool = False
    forks: Mapping[str, int] = field(default_factory=dict)

    def known(self, position: Position | None) -> int:
        """The offset up to which a reader at `position` has what this epoch has."""
        if position is None:
            return 0
        if position.epoch == self.epoch:
            return position.offset
        return min(position.offset, self.forks.get(position.epoch, 0))

    def after(self, position: Position | None) -> list[Update]:
        """The updates that a reader at `position` has not had, of those that are held."""
        known = self.known(position)
        return [update for update in self.updates if update.offset > known]

    def continues(self, position: Position) -> bool:
        """Does this epoch have all that a reader at `position` has had?"""
        same = position.epoch in (self.epoch, NO_EPOCH)
        return same or position.offset <= self.forks.get(position.epoch, -1)

    def gap_after(self, position: Position) -> tuple[int, int] | None:
        """The first and the last offset that a reader at `position` has lost; None for nothing.

        A last one before the first: none is lost, but the numbering goes on behind it.
        """
        had = self.known(position)
        first = self.updates[0].offset if self.updates else self.offset + 1
        whole = self.continues(position) and first <= had + 1
        return None if whole else (had + 1, first - 1)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription begins.

    `recovered` is None if the reader did not ask to resume. `updates` are the missed ones if it
    was recovered, else at most one: the snapshot. `status` is the message that tells the reader
    that the stream is stale, if it is. `turns_to`: the epoch of `updates`, where that has taken the
    place of `epoch`.
    """

    epoch: str
    offset: int
    recovered: bool | None
    updates: Sequence[Update]
    status: bytes | None = None
    turns_to: str = ""

    @property
    def head(self) -> int:
        """Where the reader stands when it has had the updates."""
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
        self.new = new  # there was no such stream when this process looked
        self.epoch = NO_EPOCH
        self.offset = 0
        self.forks: Mapping[str, int] = {}  # see Page
        self.born = False  # it has had an update
        self.moved = 0.0  # when it got its present offset here
        self.ready = False  # the position was read from the history at least once
        self.recent: deque[Update] = deque()
        self.hold_until = 0.0  # until then a reader may come for all of `recent`
        self.readers: dict[object, Reader] = {}  # by owner
        # Updates that came while a hole is being filled; None while there is no hole.
        self.waiting: list[Update] | None = None
        self.resync: asyncio.Task[None] | None = None
        self.again = False  # the answer on its way may be from before a reconnect: ask once more
        # See delivery/staleness.py.
        self.heard: float | None = None
        self.rhythm = rhythm_for(stream.channel)
        self.stale = False
        self.reason = ""
        self.asked = False

    @property
    def settled(self) -> bool:
        """Nothing is on its way that would change it."""
        return self.resync is None and self.waiting is None

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)

    def continues(self, since: Position) -> bool:
        """Is this the numbering that a reader knows?

        One that joined before the first update has the empty epoch and offset 0, or the epoch that
        the stream would have had if Redis had lived on.
        """
        if since.epoch == self.epoch or since.offset <= self.forks.get(since.epoch, -1):
            return True
        asked = (NO_EPOCH, self.epoch[:UNBORN_CHARS])
        return since.offset == 0 and since.epoch[:UNBORN_CHARS] in asked

    def covers(self, offset: int) -> bool:
        """Can everything after `offset` be told from memory?"""
        if offset >= self.offset:
            return True
        return bool(self.recent) and self.recent[0].offset <= offset + 1

    def needs_history(self, since: Position | None) -> bool:
        """Would a reader at `since` get more if the history were asked?"""
        if since is None or not self.continues(since):
            return False
        return self.is_behind(since) or (
            not self.covers(since.offset) and self.offset - since.offset <= RECENT
        )

    def is_behind(self, since: Position) -> bool:
        """Has a reader heard more, from a process that was told sooner?"""
        return since.offset > self.offset

    def contradicts(self, update: Update) -> bool:
        """Is another update known under this offset?"""
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
    """What a backend keeps of each stream."""

    async def read_history(self, stream: Stream, since: Position | None) -> Page:
        """Everything after `since` that is held, at most RECENT updates.

        The newest one if `since` is None or further back. Another epoch's position, and the empty
        one, stand before the first update. A stream without updates has the epoch that they
        will have. Raises BackendUnavailable.
        """

    async def read_newest(self, stream: Stream, count: int) -> Page:
        """The newest `count` updates, or as many as are held. Raises BackendUnavailable."""

    async def read_after(self, stream: Stream, position: Position) -> Page:
        """The first RECENT updates after a position that are held, however far back it is.

        After another epoch's position, from the first one that is held. As `read_history`
        otherwise.
        """

    async def restart_stream(self, stream: Stream, epoch: str, common: int) -> None:
        """End `epoch` (unless that has happened): the history went back behind what was sent.

        The next epoch goes on behind `common`, the last offset that still names the same update.
        """
