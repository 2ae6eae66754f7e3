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
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any, Final, NamedTuple

from realtime.values import in_utc, read_epoch, total

INTERVALS: Final = {"1m": timedelta(minutes=1), "1d": timedelta(days=1)}
# How far ahead of this machine's clock the clock of a market may be.
FUTURE: Final = timedelta(seconds=10)
# A day begins half a day earlier in Auckland than in London, so `bar_date` may be ahead.
_FUTURE_DAYS: Final = timedelta(days=1)
RESTART: Final = timedelta(days=7)
# Ticks of a series among which repetitions are detected.
REMEMBERED: Final = 1000
_MIDNIGHT: Final = time_of_day(tzinfo=UTC)
_MAX_SOURCE: Final = 64


class InvalidTick(ValueError):
    """Raised for market data that cannot count in a bar; names the field and the problem."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


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
class Price:
    """The price in one update. `whole`: of the whole bar of `bar_date` so far, not of one tick."""

    price: float
    volume: float
    moment: datetime
    source: str = ""
    bar_date: date | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    # The key by which repetitions are recognised; None: this update cannot be a repetition.
    identity: tuple[object, ...] | None = None


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


# Reading an update ----------------------------------------------------------------------------


def read_price(data: Mapping[str, object], published: datetime, now: datetime) -> Price | None:
    """The price in the data of an update; None if it has none. Raises InvalidTick.

    `published` is the event time of data without a `timestamp`.
    """
    if data.get("price") is None:
        return None
    price = _positive("price", data["price"])
    volume = _volume(data) or 0.0
    named = data.get("timestamp")
    moment = published if named is None else _moment(named)
    if moment > now + FUTURE:
        raise InvalidTick("timestamp", f"{named or moment} is in the future")
    source = data.get("source") or ""
    if not isinstance(source, str) or len(source) > _MAX_SOURCE or not source.isprintable():
        raise InvalidTick("source", f"must be a text of at most {_MAX_SOURCE} characters")
    bar_date = _bar_date(data.get("bar_date"), now)
    id = data.get("trade_id")
    about = ("id", id) if isinstance(id, str | int) else (moment, price, volume)
    return Price(
        price=price,
        volume=volume,
        moment=moment,
        source=source,
        bar_date=bar_date,
        open=_optional("open", data) if bar_date else None,
        high=_optional("high", data) if bar_date else None,
        low=_optional("low", data) if bar_date else None,
        identity=None if named is None and id is None else about,
    )


def corrected_id(data: Mapping[str, object]) -> str | None:
    """The id of the trade that an update takes back or corrects; None for any other update."""
    corrects = data.get("corrects")
    id = corrects.get("trade_id") if isinstance(corrects, Mapping) else None
    return id if isinstance(id, str) else None


def corrected_price(corrects: object) -> tuple[float | None, float | None]:
    """The right price and volume of a corrected trade; no price: the trade was cancelled.

    Raises InvalidTick.
    """
    if not isinstance(corrects, Mapping):
        raise InvalidTick("corrects", "is not an object")
    try:
        return _optional("price", corrects), _volume(corrects)
    except InvalidTick as exc:
        raise InvalidTick("corrects", f"{exc.field} {exc.reason}") from None


def doubts(data: Mapping[str, object], now: datetime) -> dict[str, str]:
    """Warnings for the publisher of market data, by field; empty if there is nothing to report.

    Why data with a price is in no bar; or how its time was interpreted, if that is a guess.
    """
    if _is_plain(data, now):
        return {}
    try:
        read_price(data, now, now)
        if corrected_id(data) is not None:
            corrected_price(data["corrects"])
    except InvalidTick as exc:
        return {exc.field: f"{exc.reason}, so this update does not count towards a bar"}
    stamp = data.get("timestamp")
    if isinstance(stamp, int | float) and not isinstance(stamp, bool):
        unit = read_epoch(stamp)[1]
        if unit in ("microseconds", "nanoseconds"):
            return {"timestamp": f"{stamp} is read as {unit} since 1970"}
    return {}


_PLAIN: Final = (float, int)


def _is_plain(data: Mapping[str, object], now: datetime) -> bool:
    """Is it a plain tick, like nearly all? This check takes a fifth of the time of a full parse."""
    price: Any = data.get("price")
    volume: Any = data.get("volume")
    stamp, source = data.get("timestamp"), data.get("source", "")
    try:
        return (
            type(price) in _PLAIN
            and 0 < price < math.inf
            and (volume is None or (type(volume) in _PLAIN and 0 <= volume < math.inf))
            and (stamp is None or (type(stamp) is str and datetime.fromisoformat(stamp) <= now))
            and "bar_date" not in data
            and "corrects" not in data
            and type(source) is str
            and len(source) <= _MAX_SOURCE
            and source.isprintable()
        )
    except (TypeError, ValueError):  # no time, or one without a zone
        return False


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidTick(field, f"{str(value)[:40]!r} is not a number")
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an integer of 400 digits, a signaling NaN
        number = math.inf
    if not math.isfinite(number):
        raise InvalidTick(field, f"{number} is not a finite number")
    return number


def _positive(field: str, value: object) -> float:
    number = _number(field, value)
    if number <= 0:
        raise InvalidTick(field, f"{number:g} is not above zero")
    return number


def _optional(field: str, data: Mapping[str, object]) -> float | None:
    return None if data.get(field) is None else _positive(field, data[field])


def _volume(data: Mapping[str, object]) -> float | None:
    volume = None if data.get("volume") is None else _number("volume", data["volume"])
    if volume is not None and volume < 0:
        raise InvalidTick("volume", f"{volume:g} is negative")
    return volume


def _moment(value: object) -> datetime:
    """RFC 3339, or a number since 1970, of seconds or smaller units."""
    try:
        if isinstance(value, str | datetime):
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
            return in_utc(moment)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return read_epoch(value)[0]
    except (ValueError, OverflowError, OSError):
        pass
    raise InvalidTick(
        "timestamp", f"{str(value)[:40]!r} is not a time like 2024-01-01T12:00:00.000Z"
    )


def _bar_date(value: object, now: datetime) -> date | None:
    if value is None:
        return None
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        day = None
    if day is None:
        raise InvalidTick("bar_date", f"{str(value)[:40]!r} is not a date like 2024-01-31")
    if day > (now + _FUTURE_DAYS).date():
        raise InvalidTick("bar_date", f"{day} is in the future")
    return day


# Rolling up -----------------------------------------------------------------------------------


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
