"""What the connections of a load test have received."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

# Latencies of so many updates are kept; of more than these, an evenly spread part.
_MOST: Final = 2_000_000


class Sent(msgspec.Struct):
    """The data of an update: the load test that sent it, and the nanosecond of its clock."""

    run: str = ""
    at: int = 0


class Head(msgspec.Struct):
    """The position of a stream in an answer to `subscribe`."""

    offset: int = 0


class Received(msgspec.Struct):
    """A message of the server, as far as a load test reads it."""

    type: str = ""
    symbol: str = ""
    offset: int = 0
    folded: int = 0
    snapshot: bool = False
    data: Sent | None = None
    streams: dict[str, Head] | None = None
    code: str = ""
    message: str = ""


class Samples:
    """Measured times; past `_MOST` only every second one is kept, then every fourth, and so on."""

    def __init__(self) -> None:
        self._values = array("d")
        self._step = self._seen = 1
        self.highest = 0.0

    def add(self, value: float) -> None:
        self.highest = max(self.highest, value)
        self._seen += 1
        if self._seen % self._step:
            return
        self._values.append(value)
        if len(self._values) >= _MOST:
            self._values = self._values[::2]
            self._step *= 2

    def percentiles(self, *shares: float) -> list[float | None]:
        """The value that this share of the samples does not exceed; None without samples."""
        ordered = sorted(self._values)
        last = len(ordered) - 1
        return [
            ordered[min(last, math.ceil(len(ordered) * share) - 1)] if ordered else None
            for share in shares
        ]


class Tally:
    """All connections together; times are in seconds.

    `folded`: updates that a newer one of their symbol replaced, since the client read too slowly;
    `lost`: offsets that did not come; `repeated`: offsets that came more than once.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self.connected = 0
        self.connecting = Samples()
        self.latency = Samples()
        self.received = self.folded = self.lost = self.repeated = 0
        self.closed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()


class Follower:
    """One connection: the newest offset that it has of each of its streams."""

    __slots__ = ("_tally", "heads")

    def __init__(self, tally: Tally, heads: Mapping[str, int]) -> None:
        self._tally = tally
        self.heads = dict(heads)

    def take(self, update: Received, now: int) -> None:
        """Count an update that came at this nanosecond."""
        tally, head = self._tally, self.heads.get(update.symbol, 0)
        if update.snapshot:  # what was there before, or the newest one after a gap
            self._skip(update, head)
            return
        if update.offset <= head:
            tally.repeated += 1
            return
        self.heads[update.symbol] = update.offset
        tally.received += 1
        tally.folded += update.folded
        tally.lost += max(0, update.offset - head - 1 - update.folded)
        if update.data is not None and update.data.run == tally.run:
            tally.latency.add((now - update.data.at) / 1e9)

    def _skip(self, update: Received, head: int) -> None:
        if update.offset > head:
            self._tally.lost += update.offset - head - 1
            self._tally.received += 1
            self.heads[update.symbol] = update.offset

    def missing(self, newest: Mapping[str, int]) -> int:
        """How many updates up to these offsets did not come."""
        return sum(max(0, newest.get(name, 0) - head) for name, head in self.heads.items())
