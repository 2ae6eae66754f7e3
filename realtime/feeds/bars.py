"""Daily bars out of a CSV file with OHLCV columns. Reads files, knows nothing of clocks."""

import csv
import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import IO, Final

from realtime.streams import InvalidSymbol, parse_symbol

STOCKS: Final = Path(__file__).parent / "data" / "stocks.csv.gz"

# Column names as found in files, lower case, and what they are called here.
_COLUMNS: Final = {
    "ticker": "symbol",
    "symbol": "symbol",
    "date": "date",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "adj close": "adjusted_close",
    "adj_close": "adjusted_close",
}
_NEEDED: Final = ("date", "open", "high", "low", "close", "volume")
# An adjustment from one day to the next beyond this is a split; below it, a dividend.
_SPLIT: Final = 1.2


class FeedError(Exception):
    """Raised when a feed cannot start or go on; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One trading day. Prices in the share's currency, volume in shares."""

    day: date
    open: float
    high: float
    low: float
    close: float
    volume: int
    # close / adjusted close is the product of all later adjustments; None if the file has none.
    adjusted_close: float | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out: `line` as an editor counts, `reason` names the column."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class BarFile:
    """`bars` by symbol in the order of their days, split-adjusted; `bad_rows` were left out."""

    bars: Mapping[str, Sequence[Bar]]
    bad_rows: Sequence[BadRow]


def read_bars(path: Path) -> BarFile:
    """Read a CSV file, gzipped or not; raises FeedError if there is nothing to play in it.

    Needs the columns Date, Open, High, Low, Close and Volume in any order and case. Without a
    column Ticker or Symbol all rows belong to the symbol that the file is named after (AAPL.csv).
    """
    try:
        with _open_text(path) as file:
            bars, bad_rows = _parse(file, path)
    except (OSError, EOFError, zlib.error, csv.Error) as exc:  # a gzip file cut short: EOFError
        raise FeedError(f"{path} cannot be read: {exc}") from exc
    if not bars:
        found = f"; {bad_rows[0]}" if bad_rows else ""
        raise FeedError(f"{path} holds no usable row{found}")
    ordered = {
        symbol: split_adjusted(sorted(days.values(), key=lambda bar: bar.day))
        for symbol, days in bars.items()
    }
    return BarFile(ordered, bad_rows)


def split_adjusted(bars: Sequence[Bar]) -> list[Bar]:
    """The same bars in the share units of the last one, where the file tells of splits.

    A two-for-one split halves the traded price without any loss to anybody; unadjusted it looks
    like a crash of 50 % to a chart, an alert rule and a predictor.
    """
    adjusted: list[Bar] = []
    factor = Fraction(1)
    following: float | None = None
    for bar in reversed(bars):
        ratio = bar.adjusted_close / bar.close if bar.adjusted_close else None
        if ratio and following and not 1 / _SPLIT < following / ratio < _SPLIT:
            factor *= Fraction(following / ratio).limit_denominator(20)
        following = ratio or following
        adjusted.append(bar if factor == 1 else _divided(bar, float(factor)))
    return adjusted[::-1]


def _divided(bar: Bar, factor: float) -> Bar:
    return replace(
        bar,
        open=bar.open / factor,
        high=bar.high / factor,
        low=bar.low / factor,
        close=bar.close / factor,
        volume=round(bar.volume * factor),
    )


def _open_text(path: Path) -> IO[str]:
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    opener = gzip.open if gzipped else open
    # Wrong bytes become U+FFFD: that row is then reported like any other bad one.
    return opener(path, "rt", encoding="utf-8-sig", errors="replace")


def _parse(file: IO[str], path: Path) -> tuple[dict[str, dict[date, Bar]], list[BadRow]]:
    header = _cells(file.readline())
    columns = _columns(header, path)
    default_symbol = None if "symbol" in columns else _symbol_of(path)
    bars: dict[str, dict[date, Bar]] = {}
    bad_rows: list[BadRow] = []
    # Line by line, so that an unclosed quote spoils its own line and not the rest of the file.
    for number, line in enumerate(file, start=2):
        if not line.strip():
            continue
        try:
            cells = _cells(line)
            if len(cells) != len(header):
                raise ValueError(f"{len(cells)} fields, but the header has {len(header)}")
            fields = {name: cells[place].strip() for name, place in columns.items()}
            symbol = default_symbol or parse_symbol(fields["symbol"])
            bar = _bar(fields)
            if bar.day in bars.setdefault(symbol, {}):
                raise ValueError(f"date: a second row for {symbol} on {bar.day}")
        except (ValueError, csv.Error) as exc:
            bad_rows.append(BadRow(number, str(exc)))
            continue
        bars[symbol][bar.day] = bar
    return {symbol: days for symbol, days in bars.items() if days}, bad_rows


def _cells(line: str) -> list[str]:
    return next(csv.reader([line]), [])


def _columns(header: Sequence[str], path: Path) -> dict[str, int]:
    """Our column name -> its place in a row."""
    known = {_COLUMNS.get(name.strip().lower()): place for place, name in enumerate(header)}
    columns = {name: place for name, place in known.items() if name}
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise FeedError(
            f"{path} lacks the column {', '.join(missing)}; "
            f"its first line is {','.join(header)[:200]!r}"
        )
    return columns


def _symbol_of(path: Path) -> str:
    name = path.name.split(".csv")[0]
    try:
        return parse_symbol(name)
    except InvalidSymbol as exc:
        raise FeedError(
            f"{path} has no column Symbol, and its name is no symbol either ({exc}): "
            "add the column, or name the file like AAPL.csv"
        ) from exc


def _bar(fields: Mapping[str, str]) -> Bar:
    bar = Bar(
        day=_day(fields["date"]),
        open=_price("open", fields["open"]),
        high=_price("high", fields["high"]),
        low=_price("low", fields["low"]),
        close=_price("close", fields["close"]),
        volume=_volume(fields["volume"]),
        adjusted_close=_price("adj close", fields["adjusted_close"])
        if fields.get("adjusted_close")
        else None,
    )
    if not bar.low <= min(bar.open, bar.close):
        raise ValueError(f"low: {bar.low} is above open or close")
    if not bar.high >= max(bar.open, bar.close):
        raise ValueError(f"high: {bar.high} is below open or close")
    return bar


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"date: {text!r} is not a date like 2008-01-31") from None


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: {text} is not a finite number")
    return number


def _price(name: str, text: str) -> float:
    price = _number(name, text)
    if price <= 0:
        raise ValueError(f"{name}: {text} is not above zero")
    return price


def _volume(text: str) -> int:
    volume = _number("volume", text)
    if volume < 0:
        raise ValueError(f"volume: {text} is negative")
    return round(volume)
