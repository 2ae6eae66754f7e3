"""Rolling market-data updates up to bars of a minute and of a day, by event time. Pure.

The rules:

- The event time of an update is `timestamp` in its data; without one, when it was published.
- A tick counts in the minute and in the UTC day of its event time, however late it comes: its
  price may set a new high or low; it sets the open or the close only if no tick with an earlier, or
  later, event time has set it. `volume` is the volume of this tick; a bar's volume is their sum.
- An update with `bar_date` describes the bar of that day: its `open`, `high`, `low` and `volume`
  are those of the bar so far, and nothing is summed. It produces no bars of a minute.
- Two ticks of one source with the same `trade_id` are one; without an id, two with the same
  `timestamp`, price and volume. An update without a `timestamp` never counts as a repetition.
- An update with `corrects` cancels the trade with that `trade_id`, or gives the right price and
  volume: its minute is rebuilt from the other ticks, and its day from its minutes. It is not a
  tick.
- A source with `bar_date` that goes back by more than RESTART starts over (the next lap of a
  replay): it writes the same bars again, replacing the old ones.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Final, NamedTuple

from realtime.bars.ticks import Price
from realtime.values import total

INTERVALS: Final = {"1m": timedelta(minutes=1), "1d": timedelta(days=1)}
RESTART: Final = timedelta(days=7)
# Ticks of a series among which repetitions are detected.
REMEMBERED: Final = 1000
_MIDNIGHT: Final = time_of_day(tzinfo=UTC)


class BarSeries(NamedTuple):
    """The prices of a symbol from one source."""

    symbol: str
    source: str


class BarKey(NamedTuple):
    """The key of a bar. `start` is its first moment, in UTC."""

    symbol: str
    interval: str
    source: str
    start: datetime


@dataclass(frozen=True, slots=True)
class Candle:
    """A bar, or the part of it that is not stored yet.

    `first` and `last` are the event times of its open and its close; None: unknown. `fresh`: it
    replaces the stored bar. `so_far`: its volume is the bar's total, not to be summed. `void`: the
    bar must be deleted. `of_minutes`: it is built from the bars of its minutes.
    """

    open: float
    high: float
    low: float
    close: float
    volume: float
    first: datetime | None
    last: datetime | None
    so_far: bool = False
    fresh: bool = False
    void: bool = False
    of_minutes: bool = False

    @property
    def sound(self) -> bool:
        """Are all numbers finite floats? In rows written by other means they may not be."""
        numbers = (self.open, self.high, self.low, self.close, self.volume)
        return all(isinstance(number, float) and math.isfinite(number) for number in numbers)

    def joined(self, later: "Candle") -> "Candle":
        """This part merged with one that arrived later, whatever their event times."""
        if self.of_minutes or later.of_minutes:
            return OF_MINUTES
        if later.fresh:
            return later
        if self.void:
            return replace(later, fresh=True)
        opens = later if _before(later.first, self.first) else self
        closes = self if _before(later.last, self.last) else later
        summed = total(self.volume, later.volume)
        return Candle(
            open=opens.open,
            high=max(self.high, later.high),
            low=min(self.low, later.low),
            close=closes.close,
            volume=max(self.volume, later.volume) if later.so_far else summed,
            first=opens.first,
            last=closes.last,
            so_far=later.so_far,
            fresh=self.fresh,
        )


VOID: Final = Candle(0.0, 0.0, 0.0, 0.0, 0.0, None, None, fresh=True, void=True)
OF_MINUTES: Final = Candle(0.0, 0.0, 0.0, 0.0, 0.0, None, None, fresh=True, of_minutes=True)


def _before(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


def bar_start(interval: str, moment: datetime) -> datetime:
    """The first moment of the bar of an interval that holds this one."""
    if interval == "1d":
        return datetime.combine(moment.astimezone(UTC).date(), _MIDNIGHT)
    return moment.replace(second=0, microsecond=0)


def tick_candle(price: Price) -> Candle:
    """One tick as a bar of its own."""
    at = price.price
    return Candle(at, at, at, at, price.volume, price.moment, price.moment)


def bar_candle(price: Price) -> Candle:
    """The bar so far, from the fields that the update has."""
    at = price.price
    opened = at if price.open is None else price.open
    high = max(at, opened, at if price.high is None else price.high)
    low = min(at, opened, at if price.low is None else price.low)
    return Candle(opened, high, low, at, price.volume, price.moment, price.moment, so_far=True)


@dataclass(slots=True)
class Candles:
    """Gathers updates into bars; `take` returns the parts gathered since the last call.

    These are parts of bars, to be `joined` to the stored ones.
    """

    _pending: dict[BarKey, Candle] = field(default_factory=dict)
    # The newest `bar_date` of each series that has them.
    _newest: dict[BarSeries, datetime] = field(default_factory=dict)
    _seen: dict[BarSeries, "OrderedDict[tuple[object, ...], None]"] = field(default_factory=dict)

    def add(self, symbol: str, price: Price) -> bool:
        """Count one update; False if it repeats another one."""
        if not self.see(symbol, price):
            return False
        series = BarSeries(symbol, price.source)
        if price.bar_date is not None:
            start = datetime.combine(price.bar_date, _MIDNIGHT)
            candle = bar_candle(price)
            self._join(series, "1d", start, self._aged(series, start, candle))
        else:
            for interval in INTERVALS:
                self._join(series, interval, bar_start(interval, price.moment), tick_candle(price))
        return True

    def see(self, symbol: str, price: Price) -> bool:
        """Remember an update without counting it; False if it is a repetition."""
        if price.identity is None or price.bar_date is not None:
            return True
        seen = self._seen.setdefault(BarSeries(symbol, price.source), OrderedDict())
        if price.identity in seen:
            return False
        seen[price.identity] = None
        if len(seen) > REMEMBERED:
            seen.popitem(last=False)
        return True

    def _aged(self, series: BarSeries, start: datetime, candle: Candle) -> Candle:
        """Marks a candle as fresh if this run of its source has not had its bar yet."""
        newest = self._newest.get(series)
        # Compared as a difference: subtracting a week from a date in year 1 would overflow.
        if newest is not None and timedelta(0) <= newest - start <= RESTART:
            return candle
        self._newest[series] = start
        # The first one after a restart of this process may continue a bar that is partly stored.
        return candle if newest is None else replace(candle, fresh=True)

    def _join(self, series: BarSeries, interval: str, start: datetime, candle: Candle) -> None:
        key = BarKey(series.symbol, interval, series.source, start)
        pending = self._pending.get(key)
        self._pending[key] = candle if pending is None else pending.joined(candle)

    def rebuild(self, series: BarSeries, start: datetime, candle: Candle | None) -> None:
        """Replace the bar of a minute, and rebuild the bar of its day from its minutes."""
        minute = BarKey(series.symbol, "1m", series.source, start)
        self._pending[minute] = VOID if candle is None else replace(candle, fresh=True)
        day = BarKey(series.symbol, "1d", series.source, bar_start("1d", start))
        self._pending[day] = OF_MINUTES

    def take(self) -> dict[BarKey, Candle]:
        pending, self._pending = self._pending, {}
        return pending
