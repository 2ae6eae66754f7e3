"""Parses the dates and numbers of price files. Pure; raises ValueError for anything else."""

import math
import re
from collections.abc import Iterable
from datetime import date
from typing import Final

from realtime.values import read_epoch

# A bar's day is the market's: that of the time as written, whatever its zone.
_WITH_TIME: Final = re.compile(
    r"(?P<day>.+?)(?:T|,? +)(?P<hour>\d{1,2}):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,]\d+)?)?"
    r" ?(?:(?P<half>[ap]\.?m\.?)(?![a-z]))?"
    r" ?(?:Z|[+-](?P<zone>\d\d)(?::?\d\d)?|[a-z]+(?:/[a-z_]+)*)?",
    re.IGNORECASE,
)
_YEAR_FIRST: Final = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})")
_YEAR_LAST: Final = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")
# A date with the name of its month, perhaps after a weekday.
_NAMED: Final = re.compile(
    r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?,? +)?"
    r"(?:(?P<day>\d{1,2})(?:st|nd|rd|th)?[ ./-]*(?P<month>[a-z]{3,9})\.?,?[ /-]*(?P<year>\d{4})"
    r"|(?P<month2>[a-z]{3,9})[ ./-]*(?P<day2>\d{1,2})(?:st|nd|rd|th)?(?:,? +|[/-])(?P<year2>\d{4})"
    r"|(?P<year3>\d{4})[ ./-]*(?P<month3>[a-z]{3,9})[ ./-]*(?P<day3>\d{1,2}))",
    re.IGNORECASE,
)
_MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_LONGEST: Final = 64
_EPOCH: Final = re.compile(r"-?\d{9,19}(?:\.\d*)?")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*")
_UNITS: Final = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
# Texts that programs write for a missing value.
_NOTHING: Final = re.compile(
    r"[-\u2010-\u2015\u2212.?]*|-?nan|nil|null|none|unknown|n\.?/?[ad]\.?|#n/a|<na>", re.IGNORECASE
)


def day_first(texts: Iterable[str]) -> bool | None:
    """Do these dates begin with the day, as 31/01/2024 does? None: they are ambiguous."""
    matches = [match for text in texts if (match := _YEAR_LAST.fullmatch(_without_time(text)[0]))]
    if any(int(match[1]) > 12 for match in matches):
        return True
    return False if any(int(match[2]) > 12 for match in matches) else None


def read_day(text: str, *, day_first: bool | None = None) -> date:
    """The day of a bar. `day_first` decides how ambiguous dates such as 01/02/2024 are read."""
    try:
        day, time = _without_time(text)
        found = _read_day(day, day_first)
        if time is not None:
            _check_time(time)
        return found
    except _Unreadable as exc:
        raise ValueError(f"date: {text!r} {exc}") from None
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"date: {text!r} is not a date like 2008-01-31") from None


def _read_day(text: str, day_first: bool | None) -> date:
    if match := _YEAR_FIRST.fullmatch(text):
        return date(*map(int, match.groups()))
    if match := _YEAR_LAST.fullmatch(text):
        return _year_last(match, day_first)
    if match := _NAMED.fullmatch(text):
        day, month, year = (
            next(found for suffix in ("", "2", "3") if (found := match[name + suffix]))
            for name in ("day", "month", "year")
        )
        return date(int(year), _month(month), int(day))
    if _EPOCH.fullmatch(text):
        return read_epoch(float(text))[0].date()
    return date.fromisoformat(text)


def _without_time(text: str) -> tuple[str, re.Match[str] | None]:
    """The date in a cell, and the match if a time follows it; very long text is not parsed."""
    if len(text) > _LONGEST:
        return "", None
    match = None if _NAMED.fullmatch(text) else _WITH_TIME.fullmatch(text)
    return (text, None) if match is None else (match["day"], match)


def _check_time(match: re.Match[str]) -> None:
    """Raises _Unreadable for an impossible time of day. 24:00 is accepted as the end of a day."""
    hour, minute, second, zone = (
        int(match[name] or 0) for name in ("hour", "minute", "second", "zone")
    )
    hours = range(1, 13) if match["half"] else range(24 + (minute == second == 0))
    if hour not in hours or minute > 59 or second > 60 or zone > 14:
        raise _Unreadable("has a time that no clock shows")


def _month(name: str) -> int:
    """The number of a month by its name or abbreviation; raises ValueError."""
    found = [n for n, month in enumerate(_MONTHS, 1) if month.startswith(name.lower())]
    return found[0] if len(found) == 1 else int(name)


class _Unreadable(ValueError):
    """The text says why."""


def _year_last(match: re.Match[str], day_first: bool | None) -> date:
    first, second, year = map(int, match.group(1, 2, 3))
    if day_first is None and first != second:
        raise _Unreadable(
            f"may begin with the day or with the month; write {year}-{first:02}-"
            f"{second:02} or {year}-{second:02}-{first:02}"
        )
    return date(year, second, first) if day_first else date(year, first, second)


def has_decimal_commas(texts: Iterable[str], delimiter: str) -> bool:
    """Does 101,5 mean 101.5 in these cells? Only for a file with delimiters other than commas."""
    commas = [text for text in texts if text.rfind(",") > text.rfind(".")]
    if delimiter == "," or not commas:
        return False
    return delimiter == ";" or not all(_THOUSANDS.fullmatch(text) for text in commas)


def is_missing(text: str) -> bool:
    return _NOTHING.fullmatch(text) is not None


def read_number(name: str, text: str, *, decimal_comma: bool = False) -> float:
    """A number, with any country's thousands separators and an optional currency sign."""
    plain = re.sub(r"[\s'\u2019$€£¥]", "", text)
    try:
        number = float(_dotted(plain, decimal_comma=decimal_comma))
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: {text} is not a finite number")
    return number


def _dotted(text: str, *, decimal_comma: bool) -> str:
    """The text with a decimal point and without thousands separators."""
    comma, dot = text.rfind(","), text.rfind(".")
    thousands = _THOUSANDS.fullmatch(text.lstrip("+-"))
    if comma < 0:
        return text.replace(".", "") if thousands and text.count(".") > 1 else text
    if dot > comma or (thousands and (text.count(",") > 1 or not decimal_comma)):
        return text.replace(",", "")
    return text.replace(".", "").replace(",", ".")


def read_volume(text: str, *, decimal_comma: bool = False) -> int | None:
    """The volume; None for a missing value."""
    if is_missing(text):
        return None
    unit = _UNITS.get(text[-1].upper(), 1.0)
    plain = text if unit == 1.0 else text[:-1]
    if decimal_comma and unit == 1.0 and _THOUSANDS.fullmatch(plain):
        plain = plain.replace(",", "").replace(".", "")
    volume = read_number("volume", plain, decimal_comma=decimal_comma) * unit
    if volume < 0:
        raise ValueError(f"volume: {text} is negative")
    if math.isinf(volume):
        raise ValueError(f"volume: {text} is not a finite number")
    return round(volume)
