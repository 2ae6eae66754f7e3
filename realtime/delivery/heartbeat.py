"""One timer per event loop for the heartbeats of all its sockets."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Final, Protocol

logger = logging.getLogger(__name__)

# The interval is cut into slices, so that thousands of sockets are not pinged in one turn.
MAX_SLICES: Final = 30


# Pings by the streams whose heads they name, and the time up to which the heads are complete.
Pings = dict[tuple[str, ...], tuple[bytes, float]]


class Beating(Protocol):
    """A connection with a heartbeat."""

    def beat(self, texts: Pings) -> None:
        """Send a ping, or close the connection if pongs are missing.

        `texts` caches the pings of this slice: sockets with the same subscriptions share one.
        """

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for a peer that does not read."""

    def tally(self) -> tuple[int, int, int]:
        """Messages sent, updates folded, updates replayed: counters that only grow."""


class Heartbeat:
    """Calls `beat` of each connection once per interval, the first time after a full interval."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._slices: list[dict[Beating, None]] = [
            {} for _ in range(max(1, min(MAX_SLICES, int(interval))))
        ]
        self._members: dict[Beating, int] = {}
        self._position = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Beating) -> None:
        # The slice that was served last is the one whose turn is a whole interval away.
        self._members[connection] = self._position
        self._slices[self._position][connection] = None
        if self._timer is None:
            self._schedule()

    def remove(self, connection: Beating) -> None:
        position = self._members.pop(connection, None)
        if position is not None:
            del self._slices[position][connection]

    def __iter__(self) -> Iterator[Beating]:
        return iter(self._members)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.interval / len(self._slices), self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._members:
            return
        self._schedule()
        self._position = (self._position + 1) % len(self._slices)
        texts: Pings = {}
        members = self._slices[self._position]
        for connection in tuple(members):
            if connection not in members:
                continue  # the beat of another connection removed it
            try:
                connection.beat(texts)
            except Exception:
                logger.exception("a heartbeat failed")


_heartbeats: Final[dict[asyncio.AbstractEventLoop, dict[float, Heartbeat]]] = {}


def heartbeat(interval: float) -> Heartbeat:
    """The heartbeat of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _heartbeats:
        # A WeakKeyDictionary would not do: the heartbeat's timer refers to its loop.
        for other in [other for other in _heartbeats if other.is_closed()]:
            del _heartbeats[other]
        _heartbeats[loop] = {}
    by_interval = _heartbeats[loop]
    if interval not in by_interval:
        by_interval[interval] = Heartbeat(interval)
    return by_interval[interval]


def beating() -> Iterator[Beating]:
    """The connections of the running event loop that have a heartbeat."""
    for each in _heartbeats.get(asyncio.get_running_loop(), {}).values():
        yield from each
