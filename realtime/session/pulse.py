"""Detects a peer that no longer answers."""

import time
from typing import Final

# Pings that may stay unanswered; when the next one is due, the socket counts as dead.
MAX_MISSED: Final = 2


class Pulse:
    """Counts pings without a pong, and measures the round trip of the last one."""

    __slots__ = ("_missed", "_pinged_at", "round_trip")

    def __init__(self) -> None:
        self.round_trip: float | None = None  # seconds
        self._missed = 0
        self._pinged_at: float | None = None

    def ping(self) -> bool:
        """Count a ping that is due; False if too many were not answered."""
        if self._missed >= MAX_MISSED:
            return False
        self._missed += 1
        self._pinged_at = time.monotonic()
        return True

    @property
    def awaits_pong(self) -> bool:
        return self._pinged_at is not None

    def pong(self) -> None:
        self._missed = 0
        if self._pinged_at is not None:
            self.round_trip = time.monotonic() - self._pinged_at
            self._pinged_at = None
