"""The numbers of one symbol that conditions watch, and which watches a new value touches. Pure."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import assert_never

from realtime.alerts.conditions import (
    DIRECTION,
    DirectionFlip,
    Leaf,
    Leveled,
    Metric,
    MetricName,
    PercentMove,
    Stale,
)
from realtime.alerts.levels import Levels

# A window advances in steps of a 60th of its length, so it looks back up to one step further.
BUCKETS = 60


class MetricSeries:
    """One number. `step`: of the last update that contained it; `before`: the previous value."""

    __slots__ = ("_above", "_reached", "before", "step", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self.before: float | None = None
        self.step = -1
        self._above: Levels[Watch] = Levels()  # whose truth depends on `x > level`
        self._reached: Levels[Watch] = Levels()  # whose truth depends on `x >= level`

    def watch(self, watch: "Watch") -> None:
        for levels, level in self._places(watch):
            levels.add(level, watch)

    def unwatch(self, watch: "Watch") -> None:
        for levels, level in self._places(watch):
            levels.remove(level, watch)

    def _places(self, watch: "Watch") -> list[tuple[Levels["Watch"], float]]:
        levels = self._above if watch.strict and watch.upward else self._reached
        places = [(levels, watch.level)]
        if watch.back != watch.level:
            places.append((levels, watch.back))
        return places

    @property
    def watched(self) -> bool:
        return bool(self._above) or bool(self._reached)

    def set(self, value: float, step: int) -> Iterator["Watch"]:
        """Take a new value; returns the watches whose truth may have changed."""
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


class Watch:
    """One condition of one rule on one symbol: is it true, given the number that it watches?"""

    __slots__ = (
        "back",
        "condition",
        "keeps",
        "latched",
        "level",
        "metric",
        "on",
        "rule_id",
        "strict",
        "upward",
    )

    def __init__(self, condition: Leaf, rule_id: int, *, latched: bool) -> None:
        self.condition = condition
        self.rule_id = rule_id
        self.metric: Metric = condition.metric
        self.level = condition.level
        rearm = None
        # `strict`: `> level` or `< level`, and not `>= level`.
        match condition:
            case Leveled():
                self.strict, self.upward, rearm = True, condition.upward, condition.rearm
            case PercentMove() | DirectionFlip() | Stale():
                self.strict, self.upward = False, True
            case _:
                assert_never(condition)
        self.back = self.level if rearm is None else rearm
        # With `for`, a crossing stays true until the number returns.
        self.latched = latched and condition.event
        # Does the truth depend on more than the current number?
        self.keeps = rearm is not None or self.latched
        self.on = False

    def look(self, series: MetricSeries, step: int) -> bool:
        """Is the condition true at this step? Called once in a step."""
        value = series.value
        if value is None:
            return False
        if not self.condition.event:
            self.on = self._is_beyond(value) or (self.on and not self._is_back(value))
            return self.on
        happened = not (self.keeps and self.on) and self._has_crossed(series, step)
        if self.keeps:
            self.on = happened or (self.on and not self._is_back(value))
        return self.on if self.latched else happened

    def _is_beyond(self, value: float) -> bool:
        if not self.strict:
            return value >= self.level
        return value > self.level if self.upward else value < self.level

    def _is_back(self, value: float) -> bool:
        if not self.strict:
            return value < self.level
        return value <= self.back if self.upward else value >= self.back

    def _has_crossed(self, series: MetricSeries, step: int) -> bool:
        before, value = series.before, series.value
        if series.step != step or before is None or value is None:
            return False
        if self.metric is DIRECTION:
            return before != value
        if self.upward:
            return before <= self.level < value
        return before >= self.level > value


class Window:
    """Lowest and highest price of the last `length` milliseconds, in steps of a 60th of it."""

    __slots__ = ("_buckets", "_length", "_step")

    def __init__(self, length: int, saved: Iterable[list[float]] = ()) -> None:
        self._length = length
        self._step = max(1, length // BUCKETS)
        # Number of the step, lowest, highest; in order.
        self._buckets: deque[list[float]] = deque(saved)

    def add(self, price: float, now: int) -> Mapping[MetricName, float]:
        """Take a price; returns the move in percent up from the lowest, and down from the highest.

        A price so far from the others that the percentage is not a finite number does not count as
        a move and is not kept: later prices are compared with the prices before it.
        """
        oldest = (now - self._length) // self._step
        while self._buckets and self._buckets[0][0] < oldest:
            self._buckets.popleft()
        up = percent(price, min((bucket[1] for bucket in self._buckets), default=price))
        fall = percent(price, max((bucket[2] for bucket in self._buckets), default=price))
        if up is None or fall is None:
            return {}
        up, down = max(up, 0.0), max(-fall, 0.0)
        self._remember(price, now // self._step)
        return {"move_up": up, "move_down": down, "move_any": max(up, down)}

    def clear(self) -> None:
        self._buckets.clear()

    def _remember(self, price: float, number: int) -> None:
        if self._buckets and self._buckets[-1][0] == number:
            last = self._buckets[-1]
            last[1] = min(last[1], price)
            last[2] = max(last[2], price)
        else:
            self._buckets.append([number, price, price])

    def as_data(self) -> list[list[float]]:
        return [list(bucket) for bucket in self._buckets]


def percent(value: float, base: float) -> float | None:
    """By how many percent `value` is above `base`, rounded to nine digits so that 5 % is exactly 5.

    None where two finite prices are too far apart for that to be a finite number.
    """
    if base <= 0:
        return 0.0
    share = round((value / base - 1) * 100, 9)
    return share + 0.0 if math.isfinite(share) else None  # + 0.0: never -0
