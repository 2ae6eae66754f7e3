"""Hours of the day: from `start` to `end` on some days, in a time zone. Pure."""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from functools import lru_cache
from typing import Final

from msgspec import Struct

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


class ActiveHours(
    Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True
):
    """`start` to `end` (`HH:MM`, the end not included) of `days` (default: every day).

    An `end` at or before the `start` is on the following day. `days` are the days of the start.
    """

    start: str
    end: str
    timezone: str = "UTC"
    days: tuple[str, ...] = DAYS

    @property
    def problem(self) -> tuple[str, str] | None:
        """The invalid field, and why."""
        for name, text in (("start", self.start), ("end", self.end)):
            if not _CLOCK.fullmatch(text):
                return name, "must be a time of day like 09:30"
        if not _known_zone(self.timezone):
            return "timezone", f"{self.timezone[:40]!r} is not a time zone; write America/New_York"
        if not set(self.days) <= set(DAYS) or len(self.days) not in range(1, len(DAYS) + 1):
            return "days", f"must name some of {', '.join(DAYS)}, each once"
        return None

    def contain(self, moment: int) -> bool:
        """`moment` in milliseconds since 1970."""
        return any(begin <= moment < end for begin, end in self._around(moment, 1))

    def next_change(self, moment: int) -> int:
        """The next start or end after `moment`."""
        return min(edge for span in self._around(moment, 9) for edge in span if edge > moment)

    def _around(self, moment: int, days: int) -> list[tuple[int, int]]:
        """The spans that start between the day before `moment` and `days` days later."""
        zone = zoneinfo.ZoneInfo(self.timezone)
        today = datetime.fromtimestamp(moment / 1000, zone).date()
        start, end = _clock(self.start), _clock(self.end)
        spans = []
        for ahead in range(-1, days):
            day = today + timedelta(days=ahead)
            if DAYS[day.weekday()] in self.days:
                last = day + timedelta(days=end <= start)
                spans.append(
                    (
                        _milliseconds(datetime.combine(day, start, zone)),
                        _milliseconds(datetime.combine(last, end, zone)),
                    )
                )
        return spans


def _clock(text: str) -> time_of_day:
    return time_of_day.fromisoformat(text)


def _milliseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)


@lru_cache(maxsize=256)
def _known_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
