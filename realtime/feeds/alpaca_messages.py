"""Alpaca's messages about trades, as ticks and corrections. Pure but for its log.

https://docs.alpaca.markets/docs/real-time-stock-pricing-data: `t` is a trade, `x` cancels one, `c`
corrects one. Over REST a cancelled trade has `u`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from realtime.feeds.connections import SymbolNames
from realtime.feeds.doubt import Doubt
from realtime.feeds.sale_conditions import is_price
from realtime.feeds.ticks import Correction, Tick

logger = logging.getLogger(__name__)

T = TypeVar("T")
AlpacaMessage = Mapping[str, Any]
# Trades that US exchanges call clearly erroneous differ by this much or more. A smaller correction
# concerns a size, a condition or some cents: prices and bars stay as published.
_ERRONEOUS: Final = 0.03


@dataclass
class Trades:
    """The trades of one connection."""

    names: SymbolNames
    source: str
    doubt: Doubt

    def read(self, item: AlpacaMessage) -> list[Tick | Correction]:
        """The ticks and corrections in a message of the stream."""
        match item.get("T"):
            case "t":
                tick = self.tick(item)
                return [] if tick is None else [*self.doubt.take(tick)]
            case "x":
                return self._understood(self._cancelled, item) or []
            case "c":
                return self._understood(self._corrected, item) or []
        return []

    def missed(self, item: AlpacaMessage) -> Tick | Correction | None:
        """A trade from REST, which may have been cancelled meanwhile."""
        if item.get("u") in ("canceled", "incorrect"):
            return self._understood(self._gone, item)
        return self.tick(item)

    def tick(self, item: AlpacaMessage) -> Tick | None:
        """The tick of a trade; None if the trade does not set the current price."""
        if not _counts(item.get("c"), item.get("z")):
            return None
        return self._understood(self._tick, item)

    def _tick(self, item: AlpacaMessage) -> Tick:
        return Tick(
            symbol=self.names.ours[item["S"]],
            price=float(item["p"]),
            volume=float(item["s"]),
            timestamp=read_moment(item["t"]),
            source=self.source,
            id=_id(item, item["i"]),
        )

    def _gone(self, item: AlpacaMessage) -> Correction:
        return Correction(self.names.ours[item["S"]], _id(item, item["i"]), self.source)

    def _cancelled(self, item: AlpacaMessage) -> list[Tick | Correction]:
        gone = self._gone(item)
        released = self.doubt.withdraw(gone.symbol, gone.id)
        return [gone] if released is None else [*released]

    def _corrected(self, item: AlpacaMessage) -> list[Tick | Correction]:
        symbol, id = self.names.ours[item["S"]], _id(item, item["oi"])
        before, price, volume = float(item["op"]), float(item["cp"]), float(item["cs"])
        counts = _counts(item.get("cc"), item.get("z"))
        if counts and abs(price - before) < _ERRONEOUS * before:
            return []
        new: dict[str, Any] = {"id": _id(item, item["ci"]), "price": price, "volume": volume}
        released = self.doubt.withdraw(
            symbol, id, lambda tick: replace(tick, **new) if counts else None
        )
        if released is not None:
            return [*released]
        if not counts:
            return [Correction(symbol, id, self.source)]
        return [Correction(symbol, id, self.source, price, volume)]

    def _understood(self, read: Callable[[AlpacaMessage], T], item: AlpacaMessage) -> T | None:
        try:
            return read(item)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as exc:
            logger.warning("Alpaca sent an invalid trade (%r): %.200r", exc, item)
            return None


def _counts(conditions: object, tape: object) -> bool:
    return is_price(conditions if isinstance(conditions, list) else None, tape)


def _id(item: AlpacaMessage, number: object) -> str:
    """Ids are unique for one venue only."""
    venue = item.get("x")
    return f"{venue}{number}" if venue else str(number)


def read_moment(text: str) -> datetime:
    """RFC 3339 with up to nine fractional digits, truncated to microseconds."""
    head, dot, rest = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(head + dot + rest[:6].ljust(6, "0") if dot else head).replace(
        tzinfo=UTC
    )
