"""How long to wait before the next attempt."""

import random
from collections.abc import Callable
from typing import Final

FIRST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 20.0


class Backoff:
    """Full jitter: a random time below a limit that doubles with every attempt, up to 20 s."""

    def __init__(self, rng: Callable[[], float] = random.random) -> None:
        self._rng = rng
        self._limit = FIRST_SECONDS

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        wait = self._rng() * self._limit
        self._limit = min(LONGEST_SECONDS, 2 * self._limit)
        return wait

    def reset(self) -> None:
        self._limit = FIRST_SECONDS
