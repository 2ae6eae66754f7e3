"""Times that are numbers. Pure."""

from datetime import UTC, datetime
from typing import Final

UNITS: Final = ("seconds", "milliseconds", "microseconds", "nanoseconds")
# A larger number is not of this unit but of the next one: seconds up to the year 5138, and so on.
_LARGEST: Final = 1e11


def read_epoch(number: float) -> tuple[datetime, str]:
    """A number of any of UNITS since 1970, and which one it is of; its size tells.

    Raises ValueError, OverflowError or OSError for what is no time.
    """
    for unit in UNITS:
        if abs(number) <= _LARGEST:
            return datetime.fromtimestamp(number, UTC), unit
        number = number / 1000
    raise ValueError("too large")
