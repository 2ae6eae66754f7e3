"""What all processes have done together, in one hash in Redis: counters and histograms.

Commands and tasks end, and their numbers must not end with them. So a process counts in memory,
and a thread adds what is new to the hash soon afterwards: publishers without an event loop count,
too. Labels come from fixed sets, never from a client.
"""

import atexit
import contextlib
import os
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Final, Protocol, runtime_checkable

from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers, get_channel_layer

from realtime.delivery.publisher import BackendUnavailable

# Seconds after which a process writes what it has counted.
WRITE_SECONDS: Final = 2.0
# Between the name and the labels of a field. No label contains it.
SEPARATOR: Final = "\t"
# Upper bounds of the buckets, in seconds; above the last one is the bucket without a bound.
BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
# Last parts of the fields of a histogram: `le3` for a bucket, and the sum in microseconds.
BUCKET: Final = "le"
SUM: Final = "sum"


@runtime_checkable
class KeepsTotals(Protocol):
    """A channel layer whose processes share a Redis."""

    def add_totals(self, counts: Mapping[str, int]) -> None:
        """Raises BackendUnavailable."""

    def read_totals(self) -> dict[str, int]:
        """Raises BackendUnavailable."""


class Totals:
    """The counts of this process that are not written yet; `totals` is the one to use."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self.forget()

    def forget(self) -> None:
        """Begin with nothing: in a new process after a fork, and between tests."""
        self._lock = threading.Lock()
        self._new: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()  # where there is no Redis
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        self._add({SEPARATOR.join((name, *labels)): by})
        if self._timer is None:
            self._start_timer()

    def observe(self, name: str, seconds: float, *labels: str) -> None:
        """Add a duration to a histogram."""
        self._add(_observation(name, seconds, labels))
        if self._timer is None:
            self._start_timer()

    def _add(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            for field, number in counts.items():
                self._new[field] += number

    def _start_timer(self) -> None:
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(WRITE_SECONDS, self._write_soon)
                self._timer.daemon = True
                self._timer.start()

    def _write_soon(self) -> None:
        self._timer = None
        # A thread of its own must not be the one that makes the layer.
        layer = channel_layers.backends.get(DEFAULT_CHANNEL_LAYER)
        if layer is not None and not self.write(layer):
            self._start_timer()

    def write(self, layer: object) -> bool:
        """Add what is new to the totals of all processes; False if Redis does not answer."""
        with self._lock:
            new, self._new = self._new, Counter()
        if not isinstance(layer, KeepsTotals):
            self._kept.update(new)
            return True
        began = time.perf_counter()
        try:
            if new:
                layer.add_totals(new)
        except BackendUnavailable:
            self._add(new)
            return False
        # Written with what comes next, which alone starts the timer.
        self._add(_observation("redis_round_trip", time.perf_counter() - began, ()))
        return True

    def read(self) -> dict[str, int]:
        """The totals of all processes; raises BackendUnavailable."""
        layer = get_channel_layer()
        self.write(layer)
        return layer.read_totals() if isinstance(layer, KeepsTotals) else dict(self._kept)

    def leave(self) -> None:
        """Write what the process has counted last."""
        layer = channel_layers.backends.get(DEFAULT_CHANNEL_LAYER)
        if self._timer is not None and layer is not None:
            self._timer.cancel()
            self.write(layer)


def _observation(name: str, seconds: float, labels: tuple[str, ...]) -> dict[str, int]:
    field = SEPARATOR.join((name, *labels, ""))
    bucket = bisect_left(BUCKETS, seconds)
    return {f"{field}{BUCKET}{bucket}": 1, f"{field}{SUM}": int(seconds * 1e6)}


totals: Final = Totals()
atexit.register(totals.leave)
# Threads and locked locks do not survive a fork, and the parent writes its own counts.
os.register_at_fork(after_in_child=totals.forget)

# By which way code publishes: `code` is any that does not say more.
_way: Final[ContextVar[str]] = ContextVar("way", default="code")


@contextlib.contextmanager
def published_by(way: str) -> Iterator[None]:
    """What is published in this context counts as published by this way."""
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


def publish_as(way: str) -> None:
    """`published_by` for the rest of this context: for a task that does nothing else."""
    _way.set(way)


def count_published(channels: Mapping[str, int]) -> None:
    """Count published updates, which are given by channel."""
    for channel, number in channels.items():
        totals.count("published", channel, _way.get(), by=number)
