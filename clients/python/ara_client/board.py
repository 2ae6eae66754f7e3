"""The live table of `watch`, drawn with rich."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ara_client.events import (
    Alert,
    Connected,
    Event,
    Fresh,
    Gap,
    MarketData,
    Prediction,
    Reconnecting,
    ServerError,
    Stale,
    Update,
)
from ara_client.session import Channel

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_PER_SECOND: Final = 4
_ALERTS: Final = 20


class NoTable(ImportError):
    """rich is missing."""

    def __init__(self) -> None:
        super().__init__(
            "the table needs rich: pip install 'ara-realtime-client[watch]', "
            "or use --json for JSON lines"
        )


@dataclass
class _Row:
    first: float | None = None
    price: float | None = None
    prediction: Prediction | None = None
    newest: Update | None = None
    lag: float | None = None  # seconds from the publication to here
    note: str = ""


@dataclass
class Board:
    """What the table shows. It fills the terminal, redrawn four times a second."""

    channel: Channel
    symbols: Sequence[str]
    rows: dict[str, _Row] = field(default_factory=dict)
    alerts: deque[Alert] = field(default_factory=lambda: deque(maxlen=_ALERTS))
    state: str = "connecting"

    def __post_init__(self) -> None:
        for symbol in self.symbols:
            if symbol != "*" and self.channel != "alerts":
                self.rows[symbol] = _Row()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it; raises NoTable."""
        try:
            from rich.live import Live
        except ImportError:
            raise NoTable from None
        with Live(get_renderable=self.render, refresh_per_second=_PER_SECOND):
            yield

    def take(self, event: Event) -> None:
        """Something has happened."""
        match event:
            case MarketData() | Prediction():
                self._update(self.rows.setdefault(event.symbol, _Row()), event)
            case Alert():
                self.alerts.append(event)
            case Connected():
                self.state = "live"
            case Reconnecting():
                self.state = f"{event.reason}; next attempt in {event.wait:.1f} s"
            case ServerError():
                self.state = event.message
            case Gap(symbol, first, last):
                self._note(symbol, f"lost {first} to {last}" if last >= first else "")
            case Stale(symbol):
                self._note(symbol, event.reason or "stale")
            case Fresh(symbol):
                self._note(symbol, "")

    def _update(self, row: _Row, update: MarketData | Prediction) -> None:
        if isinstance(update, Prediction):
            row.prediction = update
            if self.channel != "predictions":
                return
        else:
            row.price = row.price if update.price is None else update.price
            row.first = row.price if row.first is None else row.first
        row.newest, row.note = update, ""
        if not update.snapshot and not update.replayed:
            row.lag = max(0.0, time.time() - update.timestamp.timestamp())

    def _note(self, symbol: str, note: str) -> None:
        if symbol in self.rows:
            self.rows[symbol].note = note

    def render(self) -> "Group":
        from rich.console import Group
        from rich.text import Text

        table = self._alerts_table() if self.channel == "alerts" else self._symbols_table()
        return Group(table, Text(f"{self.channel}: {_plain(self.state)}   Ctrl-C ends", "dim"))

    def _symbols_table(self) -> "Table":
        names = ["symbol", "price", "change", "prediction", "offset", "age", "lag", ""]
        table = _table(names)
        for symbol, row in self.rows.items():
            newest = row.newest
            table.add_row(
                _cell(symbol), _number(row.price), _change(row), _prediction(row.prediction),
                "" if newest is None else str(newest.offset),
                "" if newest is None else _age(newest.timestamp),
                "" if row.lag is None else f"{row.lag * 1000:.0f} ms", _cell(row.note),
            )  # fmt: skip
        return table

    def _alerts_table(self) -> "Table":
        table = _table(["time", "severity", "symbol", "message"])
        for alert in self.alerts:
            time_of_day = alert.timestamp.astimezone().strftime("%H:%M:%S")
            words = (alert.severity or "", alert.symbol or "", alert.message)
            table.add_row(time_of_day, *map(_cell, words))
        return table


def _table(names: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    numeric = ("price", "change", "prediction", "offset", "age", "lag")
    for name in names:
        table.add_column(name, justify="right" if name in numeric else "left")
    return table


def _plain(text: str) -> str:
    """Text of others, without anything that would control the terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def _cell(text: str) -> str:
    """The same where rich would look for markup."""
    return _plain(text).replace("[", r"\[")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.6g}" if abs(value) < 1 else f"{value:,.2f}"


def _change(row: _Row) -> str:
    """Since the table began."""
    if row.price is None or not row.first:
        return ""
    percent = 100 * (row.price / row.first - 1)
    color = "green" if percent > 0 else "red" if percent < 0 else "dim"
    return f"[{color}]{percent:+.2f} %[/]"


def _prediction(prediction: Prediction | None) -> str:
    if prediction is None:
        return ""
    text = _number(prediction.predicted_price)
    if prediction.lower_bound is None or prediction.upper_bound is None:
        return text
    return f"{text} ({_number(prediction.lower_bound)} to {_number(prediction.upper_bound)})"


def _age(then: datetime) -> str:
    seconds = max(0.0, (datetime.now(UTC) - then).total_seconds())
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
