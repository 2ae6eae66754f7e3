"""Numbers and times from outside, and sequences of them. Pure.

Every price is a finite number, and still a sum, a quotient or a square of two may be infinite or
NaN: JSON has no word for that, and neither has a column that must not be empty. And calendars end.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Final, TypeVar

T = TypeVar("T")

LARGEST: Final = sys.float_info.max
UNITS: Final = ("seconds", "milliseconds", "microseconds", "nanoseconds")
# A larger number is not of this unit but of the next one: seconds up to the year 5138, and so on.
_LARGEST_EPOCH: Final = 1e11


def number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        plain = float(value)
    except OverflowError:
        return None
    return plain + 0.0 if math.isfinite(plain) else None  # + 0.0: never -0


def finite(value: float | None) -> float | None:
    """The number, or None for what is not a finite one."""
    return value if value is not None and math.isfinite(value) else None


def mean(numbers: Sequence[float]) -> float | None:
    """The mean of those that are finite; None without any."""
    known = [each for each in numbers if math.isfinite(each)]
    if not known:
        return None
    try:
        return fmean(known)
    except OverflowError:  # their sum is too large, their mean cannot be
        return math.fsum(each / len(known) for each in known)


def total(one: float, other: float) -> float:
    """The sum of those that are finite, or the LARGEST float where it is beyond that."""
    added = (finite(one) or 0.0) + (finite(other) or 0.0)
    return math.copysign(min(abs(added), LARGEST), added)


def days_before(moment: datetime, days: int) -> datetime | None:
    """None for 0 days, and where the calendar does not go so far back."""
    try:
        return moment - timedelta(days=days) if days else None
    except OverflowError:
        return None


def in_utc(moment: datetime) -> datetime:
    """The time in UTC, which is also what is meant where the zone is left out."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def read_epoch(stamp: float) -> tuple[datetime, str]:
    """A number of any of UNITS since 1970, and which one it is of; its size tells.

    Raises ValueError, OverflowError or OSError for anything that is not a time.
    """
    for unit in UNITS:
        if abs(stamp) <= _LARGEST_EPOCH:
            return datetime.fromtimestamp(stamp, UTC), unit
        stamp = stamp / 1000
    raise ValueError("too large")


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
