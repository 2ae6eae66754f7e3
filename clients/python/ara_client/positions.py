"""Where a reader stands in each stream: pure, without a socket, a timer or a clock."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NotRequired, TypedDict

MAX_REPLAYED: Final = 300  # the server replays at most this many updates
# As many positions as fit into one message whatever the symbols; other streams send a snapshot.
_MAX_SINCE: Final = 500

Verdict = Literal["apply", "replay", "drop", "lost"]


class StreamInfo(TypedDict):
    """An entry of `streams` in `connected` and `subscribed`."""

    epoch: str
    offset: int
    recovered: NotRequired[bool]
    replayed: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Position:
    """Everything of `epoch` up to `offset` has been read. `str()` of it is `epoch:offset`."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """The position that `str()` has written; raises ValueError."""
        epoch, colon, offset = text.rpartition(":")
        if not colon or not offset.isdecimal():
            raise ValueError(f"{text!r} is not a position: write it as epoch:offset, h3J2x9aQ:17")
        return cls(epoch, int(offset))


@dataclass(slots=True)
class _Place:
    # "" before the first update of a stream, None if it was never told.
    epoch: str | None
    offset: int | None  # None: whatever comes next is taken
    replay_up_to: int = 0
    recovering: bool = False
    resumed: bool = True  # the user has read up to here: what is missing is a gap
    ahead: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """What an answer has led to: names to ask `since` for, and ranges that are lost."""

    behind: list[str]
    gaps: list[tuple[str, str, int, int]]  # name, epoch, from, to


class Positions:
    """The position in every stream of a connection.

    A stream that is behind is *recovering* until the answer to its `since` arrives. Meanwhile only
    the next update in order is taken: the others come again in the replay.
    """

    def __init__(self, since: Mapping[str, Position]) -> None:
        self._places = {name: _Place(at.epoch, at.offset) for name, at in since.items()}

    def known(self) -> dict[str, Position]:
        """Where each stream can be resumed."""
        return {
            name: Position(at.epoch, at.offset if at.epoch else 0)
            for name, at in self._places.items()
            if at.epoch is not None and at.offset is not None
        }

    def epoch(self, name: str) -> str | None:
        """The epoch of a stream, if it is known."""
        at = self._places.get(name)
        return None if at is None else at.epoch or None

    def since(self, names: Iterable[str]) -> dict[str, Position]:
        """The positions that a `subscribe` asks to resume; `*` is all of them."""
        known = self.known()
        wanted = set(names)
        if "*" in wanted:
            return dict(list(known.items())[:_MAX_SINCE])
        return {name: at for name, at in known.items() if name in wanted}

    def join(self, streams: Mapping[str, StreamInfo], history: int) -> Joined:
        """Take over `streams`; `history` is how many updates a new stream is to begin with."""
        joined = Joined([], [])
        # Some of them came: the others were too much for one answer, and may come in the next.
        progress = any(info.get("replayed") for info in streams.values())
        for name, info in streams.items():
            if self._join(name, info, history, progress=progress, gaps=joined.gaps):
                joined.behind.append(name)
        return joined

    def _join(
        self,
        name: str,
        info: StreamInfo,
        history: int,
        *,
        progress: bool,
        gaps: list[tuple[str, str, int, int]],
    ) -> bool:
        """Whether the stream has to be asked for (again)."""
        epoch, head, recovered = info["epoch"], info["offset"], info.get("recovered")
        at = self._places.get(name)
        if at is not None and at.epoch == "":
            self._begin(at, epoch, head)
        if at is None or at.epoch is None or (not at.resumed and at.epoch != epoch):
            first = max(0, head - history) if at is None or not at.resumed else head
            at = _Place(epoch, first, recovering=first < head, resumed=first == head)
            self._places[name] = at
        elif at.epoch != epoch:
            # Nobody has asked the new epoch yet: it may be held from its beginning.
            if self._miss(at, epoch, 0, head, final=recovered is not None):
                gaps.append((name, epoch, 1, head))
        elif recovered:
            at.recovering, at.replay_up_to = False, head
        elif at.offset is None or at.offset >= head:
            at.recovering, at.offset = False, head
        else:
            again = progress and head - at.offset <= MAX_REPLAYED
            had = at.offset
            if self._miss(at, epoch, had, head, final=recovered is False and not again):
                gaps.append((name, epoch, had + 1, head))
        return at.recovering

    @staticmethod
    def _begin(at: _Place, epoch: str, head: int) -> None:
        """The stream had no epoch when it was joined: what came since is of this one."""
        at.epoch = epoch
        if at.offset is not None and at.offset > head:
            at.offset = 0  # or of one that has ended already

    @staticmethod
    def _miss(at: _Place, epoch: str, had: int, head: int, *, final: bool) -> bool:
        """The stream is behind; whether that is for good, and the user would want to know."""
        at.epoch, at.offset = epoch, head if final else had
        at.recovering = at.offset < head
        return final and at.resumed and had < head

    def take(
        self, name: str, offset: int, covered: int, *, epoch: str | None, snapshot: bool
    ) -> Verdict:
        """Judge an update that stands for `covered` earlier ones, folded into it or filtered out.

        `replay`: apply it, it is from the past; `drop`: it has come, or comes again in the replay;
        `lost`: drop it, and ask `since` for the stream.
        """
        at = self._places.setdefault(name, _Place(epoch, None))
        if at.epoch is None:
            at.epoch = epoch
        if at.offset is not None and not at.offset < offset <= at.offset + 1 + covered:
            if at.recovering or offset < at.offset or (offset == at.offset and not snapshot):
                return "drop"
            if not snapshot and at.epoch is not None:
                at.recovering = True
                return "lost"
        at.offset = offset
        at.resumed = True
        return "replay" if offset <= at.replay_up_to and not snapshot else "apply"

    def compare(self, heads: Mapping[str, int]) -> list[str]:
        """Names whose position is not what `ping.heads` says.

        A head below ours may only be older than the last update, so it has to be seen twice.
        """
        behind = []
        for name, head in heads.items():
            at = self._places.get(name)
            if at is None or at.offset is None or at.epoch is None:
                continue
            was_ahead, at.ahead = at.ahead, head < at.offset
            if head > at.offset or (at.ahead and was_ahead):
                at.recovering = True
                behind.append(name)
        return behind

    def skip(self, name: str, epoch: str, offset: int) -> None:
        """The server gave up on a range: go on after it."""
        self._places[name] = _Place(epoch, offset)

    def abandon(self, names: Iterable[str]) -> None:
        """`since` was refused: go on with whatever comes next."""
        for name in names:
            if at := self._places.get(name):
                at.offset, at.recovering = None, False

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._places.pop(name, None)
