"""Reads daily bars from a CSV file with OHLCV columns."""

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO, Final, TypeGuard

from realtime.feeds.cells import (
    day_first,
    has_decimal_commas,
    read_day,
    read_number,
    read_volume,
)
from realtime.feeds.columns import Columns, MissingColumns, cells
from realtime.streams import InvalidSymbol, parse_symbol

STOCKS: Final = Path(__file__).parent / "data" / "stocks.csv.gz"

_PRICES: Final = ("open", "high", "low", "close")
# A change of the adjustment between two days by more than this is a split; a smaller one, a
# dividend.
_SPLIT: Final = 1.2
# Splits have small numerators and denominators; adjusted closes are rounded, and may contain a
# dividend.
_SPLIT_PARTS: Final = 20
_SPLIT_NOISE: Final = 0.005
# Relative error of prices that were stored as 32-bit floats, or divided.
_NOISE: Final = 1e-6


class FeedError(Exception):
    """Raised when a feed cannot start or continue; the text says what to change."""


@dataclass(frozen=True, slots=True)
class DailyBar:
    """One trading day. Prices in the share's currency, volume in shares; None: unknown."""

    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int | None
    # close / adjusted close is the product of all later adjustments; None if the file has none.
    adjusted_close: float | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was skipped: `line` as an editor counts, `reason` names the column."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class BarFile:
    """`bars` by symbol, in the order of their days, split-adjusted; `bad_rows` were skipped."""

    bars: Mapping[str, Sequence[DailyBar]]
    bad_rows: Sequence[BadRow]
    columns: Columns

    @property
    def unadjusted_rows(self) -> int:
        """Rows without an adjusted close, in a file whose other rows have one."""
        if "adjusted close" not in self.columns.places:
            return 0
        return sum(bar.adjusted_close is None for bars in self.bars.values() for bar in bars)


def read_bars(path: Path) -> BarFile:
    """Read a CSV file, gzipped or not; raises FeedError if it contains no bars.

    Needs the columns Date, Open, High, Low, Close and Volume in any order and case. Without a
    column Ticker or Symbol all rows belong to the symbol that the file is named after (AAPL.csv).
    """
    try:
        with _open_text(path) as file:
            table = _Table.of(file, path)
            bars, bad_rows = table.parse()
    except (OSError, EOFError, zlib.error, csv.Error) as exc:  # a gzip file cut short: EOFError
        raise FeedError(f"{path} cannot be read: {exc}") from exc
    if not bars:
        found = f"; {bad_rows[0]}" if bad_rows else ""
        raise FeedError(f"{path} has no usable row{found}")
    ordered = {
        symbol: split_adjusted(sorted(days.values(), key=lambda bar: bar.day))
        for symbol, days in bars.items()
    }
    return BarFile(ordered, bad_rows, table.columns)


# Splits -------------------------------------------------------------------------------------------


def split_adjusted(bars: Sequence[DailyBar]) -> list[DailyBar]:
    """The same bars in the share units of the last one, if the file has adjusted closes.

    A two-for-one split halves the traded price without a loss to shareholders; unadjusted, it looks
    like a crash of 50 % to a chart, an alert rule and a predictor. A bar whose adjusted prices
    overflow a float is left out.
    """
    adjusted: list[DailyBar | None] = []
    factor = Fraction(1)
    following: float | None = None
    for bar, ratio in zip(reversed(bars), reversed(_ratios(bars)), strict=True):
        change = _quotient(following, ratio)
        if _tells_split(change):
            factor *= _split(change)
        following = ratio or following
        adjusted.append(bar if factor == 1 else _divided(bar, factor))
    return [bar for bar in reversed(adjusted) if bar is not None]


def _ratios(bars: Sequence[DailyBar]) -> list[float | None]:
    """Adjusted close by close of each bar.

    If days around a split have no adjusted close, the split is placed at the price jump closest to
    its ratio.
    """
    ratios = [_quotient(bar.adjusted_close, bar.close) for bar in bars]
    told = [place for place, ratio in enumerate(ratios) if ratio]
    for first, last in pairwise(told):
        change = _quotient(ratios[last], ratios[first])
        if last - first > 1 and _tells_split(change):
            old = _jump(bars[first : last + 1], change)
            ratios[first + 1 : first + old] = [ratios[first]] * (old - 1)
            ratios[first + old : last] = [ratios[last]] * (last - first - old)
    return ratios


def _jump(bars: Sequence[DailyBar], change: float) -> int:
    """The number of these bars before a split."""
    misses = [
        abs(math.log(after.open) - math.log(before.close) + math.log(change))
        for before, after in pairwise(bars)
    ]
    return misses.index(min(misses)) + 1


def _tells_split(change: float | None) -> TypeGuard[float]:
    return change is not None and not 1 / _SPLIT < change < _SPLIT


def _quotient(one: float | None, other: float | None) -> float | None:
    """The quotient; None if an operand is unknown or the result is not a positive float."""
    quotient = one / other if one and other else 0.0
    return quotient if 0 < quotient < math.inf else None


def _split(change: float) -> Fraction:
    """New shares per old share, rounded to a typical ratio (3/2, 1/25) or else as measured."""
    if change < 1:
        return 1 / _split(1 / change)
    for old in range(1, _SPLIT_PARTS + 1):
        found = Fraction(round(change * old), old)
        if abs(found / Fraction(change) - 1) < _SPLIT_NOISE:
            return found
    return Fraction(change)


def _divided(bar: DailyBar, factor: Fraction) -> DailyBar | None:
    try:
        prices = [
            float(Fraction(price) / factor) for price in (bar.open, bar.high, bar.low, bar.close)
        ]
    except OverflowError:
        return None
    volume = None if bar.volume is None else round(bar.volume * factor)
    return (
        replace(bar, open=prices[0], high=prices[1], low=prices[2], close=prices[3], volume=volume)
        if min(prices) > 0
        else None
    )


# Rows ---------------------------------------------------------------------------------------------


def _open_text(path: Path) -> IO[str]:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if gzipped else open
    with opener(path, "rb") as file:
        wide = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    # Wrong bytes become U+FFFD: that row is then reported like any other bad one.
    return opener(path, "rt", encoding="utf-16" if wide else "utf-8-sig", errors="replace")


@dataclass(frozen=True, slots=True)
class _Table:
    """The numbered lines of a file after its header; `symbol` applies to all rows."""

    columns: Columns
    lines: Sequence[tuple[int, str]]
    symbol: str | None

    @classmethod
    def of(cls, file: IO[str], path: Path) -> "_Table":
        lines = ((number, line) for number, line in enumerate(file, start=1) if _has_cells(line))
        header = next(lines, (1, ""))[1]
        rows = list(lines)
        named = re.match(r"price\b(.*)", header, re.IGNORECASE | re.DOTALL)
        symbol = None
        if named and rows and rows[0][1].lower().startswith("ticker"):
            # yfinance writes a header of three lines.
            header, symbol = f"Date{named[1]}", _only_ticker(rows[0][1], path)
            rows = [row for row in rows[1:] if not row[1].lower().startswith("date")]
        try:
            columns = Columns.of(header)
        except MissingColumns as exc:
            raise FeedError(f"{path} {exc}") from None
        if symbol is None and "symbol" not in columns.places:
            symbol = _symbol_of(path)
        return cls(columns, rows, symbol)

    def parse(self) -> tuple[dict[str, dict[date, DailyBar]], list[BadRow]]:
        bars: dict[str, dict[date, DailyBar]] = {}
        bad_rows: list[BadRow] = []
        fields = list(self._fields())
        first = day_first(row["date"] for row in fields)
        prices = (row[name] for row in fields for name in _PRICES)
        comma = has_decimal_commas(prices, self.columns.delimiter)
        # Line by line, so that an unclosed quote spoils its own line and not the rest of the file.
        for number, line in self.lines:
            try:
                row = self.columns.read(line)
                symbol = self.symbol or parse_symbol(row["symbol"])
                bar = _bar(row, first, comma)
                if bar.day in bars.setdefault(symbol, {}):
                    raise ValueError(f"date: a second row for {symbol} on {bar.day}")
            except (ValueError, csv.Error) as exc:
                bad_rows.append(BadRow(number, str(exc)))
                continue
            bars[symbol][bar.day] = bar
        return {symbol: days for symbol, days in bars.items() if days}, bad_rows

    def _fields(self) -> Iterator[dict[str, str]]:
        for _, line in self.lines:
            try:
                yield self.columns.read(line)
            except (ValueError, csv.Error):
                continue


def _bar(row: Mapping[str, str], first: bool | None, comma: bool) -> DailyBar:
    return _fitted(
        DailyBar(
            day=read_day(row["date"], day_first=first),
            volume=read_volume(row["volume"], decimal_comma=comma),
            adjusted_close=_adjusted(row.get("adjusted close", ""), comma),
            **{name: _price(name, row[name], comma) for name in _PRICES},
        )
    )


def _has_cells(line: str) -> bool:
    """Not an empty line, a comment, or the `sep=` line of a spreadsheet."""
    return bool(line.strip(" \t\r\n,;|")) and not line.startswith(("#", "sep="))


def _only_ticker(line: str, path: Path) -> str:
    names = sorted({name.strip() for name in cells(line, ",")[1:]} - {""})
    if len(names) != 1:
        raise FeedError(
            f"{path} holds the columns of {len(names)} symbols side by side; write one file for "
            "each, or rows with a column Symbol"
        )
    return _parsed(names[0], f"{path}: its line Ticker names no symbol")


def _symbol_of(path: Path) -> str:
    name = re.split(r"\.(?:csv|tsv|txt)\b", path.name, flags=re.IGNORECASE)[0]
    return _parsed(name, f"{path} has no column Symbol, and its name is not a valid symbol either")


def _parsed(name: str, problem: str) -> str:
    try:
        return parse_symbol(name)
    except InvalidSymbol as exc:
        raise FeedError(
            f"{problem} ({exc}): add the column, or name the file like AAPL.csv"
        ) from exc


def _fitted(bar: DailyBar) -> DailyBar:
    """The bar with low and high extended to open and close, where rounding separated them."""
    low, high = min(bar.low, bar.open, bar.close), max(bar.high, bar.open, bar.close)
    if bar.low - low > _NOISE * bar.low:
        raise ValueError(f"low: {bar.low} is above open or close")
    if high - bar.high > _NOISE * bar.high:
        raise ValueError(f"high: {bar.high} is below open or close")
    return replace(bar, low=low, high=high)


def _price(name: str, text: str, comma: bool) -> float:
    price = read_number(name, text, decimal_comma=comma)
    if price <= 0:
        raise ValueError(f"{name}: {text} is not above zero")
    return price


def _adjusted(text: str, comma: bool) -> float | None:
    """The adjusted close; None if missing, or if decades of dividends made it negative."""
    try:
        adjusted = read_number("adjusted close", text, decimal_comma=comma)
    except ValueError:
        return None
    return adjusted if adjusted > 0 else None
