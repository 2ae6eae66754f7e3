"""Recent prices of a symbol: those that its subscribers have seen.

They come from the history of the market-data stream, so a prediction rests on what was published
and on nothing else, from whichever process and source it was published.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from redis.exceptions import RedisError

from realtime import broadcast
from realtime.delivery.publisher import BackendUnavailable

# Updates of a symbol that are looked at. `recent_updates` gives 300 at most, counted from the
# newest when it answers: some may be published while it reads.
HISTORY: Final = 250
# Closes that are kept per symbol: more than any predictor here looks at.
_KEPT: Final = 1000


@dataclass(slots=True)
class RecentPrices:
    """Closes gathered from the `data` of market-data updates, fed in order with `add`.

    Updates with a `bar_date` count once per bar, with its latest price (the last bar may still be
    open); others count one by one. Prices of two sources are not one series, and neither are
    those before and after a `bar_date` that goes back (a replay that begins again): the older
    ones are dropped.
    """

    closes: list[float] = field(default_factory=list)
    source: str | None = None
    bar_date: str | None = None
    # Of the last price, as published.
    timestamp: str | None = None

    def add(self, data: Mapping[str, Any]) -> None:
        """Take one update into account; one without a usable price is passed over."""
        price = _price(data.get("price"))
        if price is None:
            return
        source, bar_date = _text(data.get("source")), _text(data.get("bar_date"))
        if source != self.source or (bar_date or "") < (self.bar_date or ""):
            self.closes.clear()
        if self.closes and bar_date is not None and bar_date == self.bar_date:
            self.closes[-1] = price
        else:
            self.closes.append(price)
            del self.closes[:-_KEPT]
        self.source, self.bar_date = source, bar_date
        self.timestamp = _text(data.get("timestamp"))

    @property
    def as_of(self) -> datetime:
        """When the last price was current, on its market's clock; now if it does not say."""
        try:
            moment = datetime.fromisoformat(self.timestamp or "")
            if moment.tzinfo is None:
                return moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            return datetime.now(UTC)


def gathered(updates: Iterable[Mapping[str, Any]]) -> RecentPrices:
    """RecentPrices of `data` objects, oldest first, in the source of the newest one.

    A price sent by hand amid a running feed does not cost the feed its past.
    """
    held = list(updates)
    source = next((_text(data.get("source")) for data in reversed(held)), None)
    prices = RecentPrices(source=source)
    for data in held:
        if _text(data.get("source")) == source:
            prices.add(data)
    return prices


async def market_data(symbol: str, limit: int) -> list[dict[str, Any]]:
    """The newest `data` objects of a symbol, oldest first; raises PublishFailed.

    A history that cannot be read is a channel layer that cannot be published to, either: whoever
    does both has one error to wait out.
    """
    try:
        return await broadcast.recent_updates("market-data", symbol, limit)
    except (BackendUnavailable, RedisError, OSError) as exc:
        raise broadcast.PublishFailed(exc) from exc


async def recent_prices(symbol: str) -> RecentPrices:
    """Those of the newest HISTORY updates of a symbol; raises PublishFailed."""
    return gathered(await market_data(symbol, HISTORY))


def _price(value: object) -> float | None:
    """A finite number above zero as a float, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        price = float(value)
    except OverflowError:
        return None
    return price if 0 < price < math.inf else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
