"""Reading prices and corrections in market-data updates. Pure.

The event time of an update is `timestamp` in its data; without one, when it was published.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from realtime.values import in_utc, read_epoch

# How far ahead of this machine's clock the clock of a market may be.
FUTURE: Final = timedelta(seconds=10)
# A day begins half a day earlier in Auckland than in London, so `bar_date` may be ahead.
_FUTURE_DAYS: Final = timedelta(days=1)
_MAX_SOURCE: Final = 64


class InvalidTick(ValueError):
    """Raised for market data that cannot count in a bar; names the field and the problem."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


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
