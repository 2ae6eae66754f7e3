"""Counts the events of one socket."""

import math
import time
from collections.abc import Callable

WINDOW_SECONDS = 60.0


class Allowance:
    """At most `limit` events in any minute. Costs nothing before the first event."""

    __slots__ = ("_clock", "_stopped_until", "_times", "limit")

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._times: list[float] | None = None
        self._stopped_until = -math.inf

    def take(self) -> bool:
        """Count one event; False, and not counted, if the limit is reached."""
        if self.left <= 0:
            return False
        if self._times is None:
            self._times = []
        self._times.append(self._clock())
        return True

    def stop(self, seconds: float) -> None:
        """Allow no event for so many seconds."""
        self._stopped_until = self._clock() + seconds

    @property
    def left(self) -> int:
        if self._clock() < self._stopped_until:
            return 0
        if not self._times:
            return self.limit
        oldest = self._clock() - WINDOW_SECONDS
        if self._times[0] <= oldest:
            self._times = [moment for moment in self._times if moment > oldest]
        return max(0, self.limit - len(self._times))

    @property
    def wait(self) -> float:
        """Seconds until one more event is allowed."""
        if self.left > 0:
            return 0.0
        times = self._times or []
        full_until = times[0] + WINDOW_SECONDS if len(times) >= self.limit > 0 else -math.inf
        return max(0.0, max(full_until, self._stopped_until) - self._clock())


class TokenBucket:
    """`rate` events a second, `burst` of them at once."""

    __slots__ = ("_clock", "_tokens", "_updated", "burst", "rate")

    def __init__(
        self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._updated = clock()

    def change(self, rate: float, burst: int) -> None:
        """Switch to another rate; events counted so far stay counted."""
        self._refill()
        self.rate, self.burst = rate, burst

    def take(self, cost: int = 1) -> float:
        """Count events: 0, or the seconds until they are allowed if they were not counted.

        More than `burst` events are allowed whenever `burst` events are.
        """
        self._refill()
        needed = min(cost, self.burst)
        if self._tokens < needed:
            return (needed - self._tokens) / self.rate
        self._tokens -= needed
        return 0.0

    @property
    def left(self) -> int:
        self._refill()
        return int(self._tokens)

    def _refill(self) -> None:
        now = self._clock()
        self._tokens = min(float(self.burst), self._tokens + (now - self._updated) * self.rate)
        self._updated = now
