"""The ticks that every feed yields, and their form on the wire. Pure."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from realtime import protocol
from realtime.values import finite


@dataclass(frozen=True, slots=True)
class Tick:
    """One change of a symbol's price.

    With `bar_date`, the day of a bar, `open`, `high`, `low`, `close` and `volume` are that bar's so
    far, up to and including this tick; without it, `volume` is the volume of this tick. None: the
    feed does not know the value. `timestamp` is aware, on the clock of the market: for a replay it
    lies in the past. `id` distinguishes trades with the same timestamp, and identifies duplicates;
    without it, no two ticks of a symbol from one source have the same timestamp.
    """

    symbol: str
    price: float
    volume: float | None
    timestamp: datetime
    source: str
    id: str | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    previous_close: float | None = None
    bar_date: date | None = None
    bid: float | None = None
    ask: float | None = None
    # Traded in the last 24 hours, in units of the symbol: not in this tick.
    volume_24h: float | None = None
    # Published at once, before the live ticks, so that readers have a history.
    backfill: bool = False

    def as_data(self) -> dict[str, object]:
        """`data` of a `market_data_update`, without unknown values."""
        fields = {
            "price": _round(self.price),
            "volume": self.volume,
            "timestamp": protocol.timestamp(self.timestamp),
            "open": _round(self.open),
            "high": _round(self.high),
            "low": _round(self.low),
            "close": _round(self.close),
            "bid": _round(self.bid),
            "ask": _round(self.ask),
            "volume_24h": self.volume_24h,
            "change_percent": self.change_percent,
            "bar_date": self.bar_date and self.bar_date.isoformat(),
            "source": self.source,
            "trade_id": self.id,
            "backfill": self.backfill or None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def change_percent(self) -> float | None:
        """The change since the previous bar's close; None for the first bar, and on overflow."""
        if not self.previous_close:
            return None
        return finite(round((self.price / self.previous_close - 1) * 100, 4))


@dataclass(frozen=True, slots=True)
class Correction:
    """A published trade was cancelled, or corrected: then `price` and `volume` are the right ones.

    `id` is that of the Tick. The right price is not published as a new one: the last price goes
    back to that of the newest other trade, and bars are rebuilt.
    """

    symbol: str
    id: str
    source: str
    price: float | None = None
    volume: float | None = None

    def as_data(self) -> dict[str, object]:
        """`corrects` in the `data` of a `market_data_update`."""
        fields = {"trade_id": self.id, "price": _round(self.price), "volume": self.volume}
        return {name: value for name, value in fields.items() if value is not None}


def _round(price: float | None) -> float | None:
    """Eight significant digits: enough for any quote, without the rounding noise of a division."""
    return None if price is None else float(f"{price:.8g}")


class Feed(Protocol):
    """A source of ticks. `source` is the name that its ticks contain."""

    @property
    def source(self) -> str: ...

    def ticks(
        self, symbols: Sequence[str], after: Mapping[str, datetime] | None = None
    ) -> AsyncGenerator[Tick | Correction, None]:
        """Ticks as they arrive; raises FeedError.

        `after`: by symbol, the timestamp of the last published tick.
        """
        ...
