"""The numbers of one symbol that conditions watch, and whom a new value touches. Pure."""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from typing import Any as AnyValue

from realtime.alerts.index import Levels

if TYPE_CHECKING:
    from realtime.alerts.state import Watch

# A window moves on in steps of a 60th of its length: it looks back up to that much further.
BUCKETS = 60


class Series:
    """One number. `step`: of the last update which had it; `before`: the value before that."""

    __slots__ = ("_above", "_reached", "before", "step", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self.before: float | None = None
        self.step = -1
        self._above: Levels[Watch] = Levels()  # true or false by `x > level`
        self._reached: Levels[Watch] = Levels()  # by `x >= level`

    def watch(self, watch: "Watch") -> None:
        for levels, level in self._places(watch):
            levels.add(level, watch)

    def unwatch(self, watch: "Watch") -> None:
        for levels, level in self._places(watch):
            levels.remove(level, watch)

    def _places(self, watch: "Watch") -> "list[tuple[Levels[Watch], float]]":
        levels = self._above if watch.strict and watch.upward else self._reached
        places = [(levels, watch.level)]
        if watch.back != watch.level:
            places.append((levels, watch.back))
        return places

    @property
    def watched(self) -> bool:
        return bool(self._above) or bool(self._reached)

    def set(self, value: float, step: int) -> "Iterator[Watch]":
        """Take a new value; those for whom that may change something."""
        before, self.before = self.value, self.value
        self.value = value
        self.step = step
        if before is None:
            yield from self._above.all()
            yield from self._reached.all()
        elif before != value:
            low, high = (before, value) if before < value else (value, before)
            yield from self._above.left(low, high)
            yield from self._reached.reached(low, high)

    def next_level(self, value: float) -> float | None:
        """The lowest level of a `>=` above this value."""
        return self._reached.after(value)


class Window:
    """Lowest and highest price of the last `length` milliseconds, in steps of a 60th of it."""

    __slots__ = ("_buckets", "_length", "_step")

    def __init__(self, length: int, saved: AnyValue = None) -> None:
        self._length = length
        self._step = max(1, length // BUCKETS)
        # Number of the step, lowest, highest; in order.
        self._buckets: deque[list[float]] = deque(saved or ())

    def add(self, price: float, now: int) -> None:
        number = now // self._step
        oldest = (now - self._length) // self._step
        buckets = self._buckets
        while buckets and buckets[0][0] < oldest:
            buckets.popleft()
        if buckets and buckets[-1][0] == number:
            last = buckets[-1]
            last[1] = min(last[1], price)
            last[2] = max(last[2], price)
        else:
            buckets.append([number, price, price])

    def moves(self, price: float) -> Mapping[str, float]:
        """Percent from the lowest up to the price, and from the highest down to it."""
        lowest = min(bucket[1] for bucket in self._buckets)
        highest = max(bucket[2] for bucket in self._buckets)
        up = percent(price, lowest)
        down = -percent(price, highest)
        return {"move_up": up, "move_down": down, "move_any": max(up, down)}

    def as_data(self) -> list[list[float]]:
        return [list(bucket) for bucket in self._buckets]


def percent(value: float, base: float) -> float:
    """By how many percent `value` is above `base`; nine digits, so that 5 % is 5 %."""
    if base <= 0:
        return 0.0
    return round((value / base - 1) * 100, 9)


def number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        plain = float(value)
    except OverflowError:
        return None
    return plain if math.isfinite(plain) else None
