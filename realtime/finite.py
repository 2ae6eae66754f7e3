"""Arithmetic on numbers from outside whose result may be beyond what a float holds. Pure.

Every price is a finite number, and still a sum, a quotient or a square of two may be infinite or
NaN: JSON has no word for that, and neither has a column that must not be empty. And calendars end.
"""

import math
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import fmean
from typing import Final

LARGEST: Final = sys.float_info.max


def finite(number: float | None) -> float | None:
    """The number, or None for what is not a finite one."""
    return number if number is not None and math.isfinite(number) else None


def mean(numbers: Sequence[float]) -> float | None:
    """The mean of those that are finite; None without any."""
    known = [number for number in numbers if math.isfinite(number)]
    if not known:
        return None
    try:
        return fmean(known)
    except OverflowError:  # their sum is too large, their mean cannot be
        return math.fsum(number / len(known) for number in known)


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
