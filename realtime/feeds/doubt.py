"""Holds back trades whose price is far from the last one, for a moment. Pure.

A market usually cancels a wrong price within a second or two, but once published it has fired
rules. The next trade confirms a real jump, and ends the wait.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from realtime.feeds.ticks import Tick

# A ratio of two prices beyond which the later one is held back: exchanges halt a share that moves
# that much within minutes.
FAR: Final = 1.1
SECONDS: Final = 2.0


@dataclass
class Doubt:
    """The held trades of each symbol: the doubtful one, followed by later ones in order."""

    clock: Callable[[], float] = time.monotonic
    far: float = FAR
    _last: dict[str, float] = field(default_factory=dict)
    _held: dict[str, list[Tick]] = field(default_factory=dict)
    _until: dict[str, float] = field(default_factory=dict)

    def take(self, tick: Tick) -> list[Tick]:
        """Take a trade; returns the trades that may be published now."""
        held = self._held.get(tick.symbol)
        if held is not None:
            held.append(tick)
            return self._release(tick.symbol) if self._near(held[0].price, tick.price) else []
        last = self._last.get(tick.symbol)
        if last is None or self._near(last, tick.price):
            self._last[tick.symbol] = tick.price
            return [tick]
        self._held[tick.symbol] = [tick]
        self._until[tick.symbol] = self.clock() + SECONDS
        return []

    def withdraw(
        self, symbol: str, id: str, change: Callable[[Tick], Tick | None] = lambda tick: None
    ) -> list[Tick] | None:
        """Cancel or correct a held trade; returns what may be published then. None: not held."""
        held = self._held.get(symbol, [])
        if all(tick.id != id for tick in held):
            return None
        del self._held[symbol], self._until[symbol]
        rest = [change(tick) if tick.id == id else tick for tick in held]
        return [free for tick in rest if tick is not None for free in self.take(tick)]

    def due(self) -> list[Tick]:
        """The trades that have waited long enough."""
        now = self.clock()
        over = [symbol for symbol, until in self._until.items() if until <= now]
        return [tick for symbol in over for tick in self._release(symbol)]

    @property
    def wait(self) -> float | None:
        """Seconds until something is due; None: nothing is held."""
        return max(0.0, min(self._until.values()) - self.clock()) if self._until else None

    def _release(self, symbol: str) -> list[Tick]:
        del self._until[symbol]
        held = self._held.pop(symbol)
        self._last[symbol] = held[-1].price
        return held

    def _near(self, one: float, other: float) -> bool:
        if not (0 < one < math.inf and 0 < other < math.inf):
            return True  # no price: publishing it reports the error
        return abs(math.log(one) - math.log(other)) < math.log(self.far)
