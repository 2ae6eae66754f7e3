"""Dates and numbers as files of prices write them. Pure; raises ValueError for anything else."""

import math
import re
from collections.abc import Iterable
from datetime import date
from typing import Final

from realtime.values import read_epoch

# The day of a bar is that of its market: of the time as it is written, whatever the zone is.
_WITH_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d|\d{8})[T ]\d\d:?\d\d(?::?\d\d(?:[.,]\d+)?)?"
    r" ?(?:Z|[+-]\d\d(?::?\d\d)?|[A-Za-z]+(?:/[A-Za-z_]+)*)?"
)
_YEAR_FIRST: Final = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})")
_YEAR_LAST: Final = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})(?:[ T].*)?")
_EPOCH: Final = re.compile(r"-?\d{9,19}(?:\.\d*)?")
_THOUSANDS: Final = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*")
_UNITS: Final = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
# What programs write for a value that they do not have.
_NOTHING: Final = re.compile(
    r"[-\u2010-\u2015\u2212.?]*|-?nan|nil|null|none|unknown|n\.?/?[ad]\.?|#n/a|<na>", re.IGNORECASE
)


def day_first(texts: Iterable[str]) -> bool | None:
    """Do dates such as 31/01/2024 begin with the day? None: these could be read either way."""
    matches = [match for text in texts if (match := _YEAR_LAST.fullmatch(text))]
    if any(int(match[1]) > 12 for match in matches):
        return True
    return False if any(int(match[2]) > 12 for match in matches) else None


def read_day(text: str, *, day_first: bool | None = None) -> date:
    """The day that a bar is of. `day_first` is what dates like 01/02/2024 need to be read."""
    try:
        if match := _WITH_TIME.fullmatch(text):
            return date.fromisoformat(match[1])
        if match := _YEAR_FIRST.fullmatch(text):
            return date(*map(int, match.groups()))
        if match := _YEAR_LAST.fullmatch(text):
            return _year_last(text, match, day_first)
        if _EPOCH.fullmatch(text):
            return read_epoch(float(text))[0].date()
        return date.fromisoformat(text)
    except _Ambiguous:
        raise
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"date: {text!r} is not a date like 2008-01-31") from None


class _Ambiguous(ValueError):
    pass


def _year_last(text: str, match: re.Match[str], day_first: bool | None) -> date:
    first, second, year = map(int, match.group(1, 2, 3))
    if day_first is None and first != second:
        raise _Ambiguous(
            f"date: {text!r} may begin with the day or with the month; write {year}-{first:02}-"
            f"{second:02} or {year}-{second:02}-{first:02}"
        )
    return date(year, second, first) if day_first else date(year, first, second)


def has_decimal_commas(texts: Iterable[str], delimiter: str) -> bool:
    """Is 101,5 in these what others write as 101.5? In a file that has other delimiters only."""
    commas = [text for text in texts if text.rfind(",") > text.rfind(".")]
    if delimiter == "," or not commas:
        return False
    return delimiter == ";" or not all(_THOUSANDS.fullmatch(text) for text in commas)


def is_missing(text: str) -> bool:
    return _NOTHING.fullmatch(text) is not None


def read_number(name: str, text: str, *, decimal_comma: bool = False) -> float:
    """A number, with the separators of thousands of any country and a sign of its currency."""
    plain = re.sub(r"[\s'\u2019$€£¥]", "", text)
    try:
        number = float(_dotted(plain, decimal_comma=decimal_comma))
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: {text} is not a finite number")
    return number


def _dotted(text: str, *, decimal_comma: bool) -> str:
    """The text with a point before its decimals, and nothing between its thousands."""
    comma, dot = text.rfind(","), text.rfind(".")
    thousands = _THOUSANDS.fullmatch(text.lstrip("+-"))
    if comma < 0:
        return text.replace(".", "") if thousands and text.count(".") > 1 else text
    if dot > comma or (thousands and (text.count(",") > 1 or not decimal_comma)):
        return text.replace(",", "")
    return text.replace(".", "").replace(",", ".")


def read_volume(text: str, *, decimal_comma: bool = False) -> int | None:
    """None where the file does not know."""
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
