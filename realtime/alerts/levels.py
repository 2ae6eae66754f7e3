"""Sorted levels: which conditions does a number touch when it moves from one value to another?

The two comparisons change on different sides of a level: `x > level` when x leaves the level
upwards, `x >= level` when x reaches it. A move touches only the levels between the two values,
which bisection finds however many levels there are.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class Levels(Generic[Owner]):
    """Owners by level. Adding many is cheap: they are sorted when the order is needed."""

    __slots__ = ("_at", "_order", "_sorted")

    def __init__(self) -> None:
        self._at: dict[float, dict[Owner, None]] = {}
        self._order: list[float] = []
        self._sorted = True

    def __bool__(self) -> bool:
        return bool(self._at)

    def add(self, level: float, owner: Owner) -> None:
        owners = self._at.get(level)
        if owners is None:
            owners = self._at[level] = {}
            self._order.append(level)
            self._sorted = False
        owners[owner] = None

    def remove(self, level: float, owner: Owner) -> None:
        owners = self._at.get(level)
        if owners is None or owner not in owners:
            return
        del owners[owner]
        if not owners:
            del self._at[level]
            order = self._in_order()
            del order[bisect_left(order, level)]

    def left(self, low: float, high: float) -> Iterator[Owner]:
        """Owners at levels `low <= level < high`: where `x > level` changed between the two."""
        order = self._in_order()
        return self._of(bisect_left(order, low), bisect_left(order, high))

    def reached(self, low: float, high: float) -> Iterator[Owner]:
        """Owners at levels `low < level <= high`: where `x >= level` changed between the two."""
        order = self._in_order()
        return self._of(bisect_right(order, low), bisect_right(order, high))

    def all(self) -> Iterator[Owner]:
        return self._of(0, len(self._in_order()))

    def after(self, level: float) -> float | None:
        """The lowest level above this one."""
        order = self._in_order()
        place = bisect_right(order, level)
        return order[place] if place < len(order) else None

    def _of(self, begin: int, end: int) -> Iterator[Owner]:
        for place in range(begin, end):
            yield from self._at[self._order[place]]

    def _in_order(self) -> list[float]:
        if not self._sorted:
            self._order.sort()
            self._sorted = True
        return self._order
