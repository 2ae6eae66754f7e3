"""Recent prices of a symbol: those that subscribers received, and stored bars before them.

The newest prices come from the history of the market-data stream, so a prediction uses what was
published, by any process. The history holds some hundred updates; where a predictor can use more,
stored bars of the same source supply the older prices, and only those.

The data determines the step of a prediction. Updates with a `bar_date` are daily bars:
`1d`. Others are rolled up to minutes by their `timestamp` (the last price of each minute in which
there was one): `1m`. As long as that gives fewer than MIN_CLOSES minutes, or without timestamps,
each update counts for itself: `update`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from redis.exceptions import RedisError

from realtime import broadcast, protocol
from realtime.bars.ticks import InvalidTick, corrected_id, corrected_price
from realtime.delivery.publisher import BackendUnavailable
from realtime.models import Bar
from realtime.predictions.fields import later
from realtime.predictions.predictors import MIN_CLOSES
from realtime.values import in_utc, number

# Updates of a symbol that are used. `recent_updates` returns at most 300, counted from the newest
# at the time of its answer: some may be published while it reads.
HISTORY: Final = 250
# Closes that are kept per symbol: more than any built-in predictor uses.
_KEPT: Final = 1000
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class PriceSeries:
    """Closes of equal spacing, oldest first; the last one may be that of a bar still open.

    `as_of`: when the last price was current, by its market's clock. `spacing`: the mean duration of
    a step by that clock.
    """

    closes: tuple[float, ...]
    step: str
    as_of: datetime
    spacing: timedelta
    source: str | None = None

    def valid_until(self, horizon: int) -> datetime:
        return later(self.as_of, horizon * self.spacing)


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
    # For each close: the first moment of its bar, or the time of its update if it has one.
    moments: list[datetime | None] = field(default_factory=list)
    # For each close: the id of its trade, if it has one.
    ids: list[str | None] = field(default_factory=list)

    def add(self, data: Mapping[str, object]) -> None:
        """Add an update; one without a valid price is skipped."""
        id = corrected_id(data)
        if id is not None:
            self._correct(id, data["corrects"])
            return
        price = _price(data.get("price"))
        if price is None:
            return
        source, bar_date = _text(data.get("source")), _text(data.get("bar_date"))
        if source != self.source or (bar_date or "") < (self.bar_date or ""):
            for held in (self.closes, self.moments, self.ids):
                held.clear()
        timestamp = _text(data.get("timestamp"))
        if self.closes and bar_date is not None and bar_date == self.bar_date:
            self.closes[-1] = price
        else:
            self.closes.append(price)
            self.moments.append(_moment(timestamp) if bar_date is None else _start(bar_date))
            self.ids.append(_text(data.get("trade_id")))
            del self.closes[:-_KEPT], self.moments[:-_KEPT], self.ids[:-_KEPT]
        self.source, self.bar_date = source, bar_date
        self.timestamp = timestamp

    def holds(self, trade_id: str) -> bool:
        return trade_id in self.ids

    def corrected_data(self, corrects: Mapping[str, object]) -> dict[str, object]:
        """The data of an update that cancels a trade, with the price of the newest other trade."""
        others = [n for n, id in enumerate(self.ids) if id != corrects["trade_id"]]
        data: dict[str, object] = {"source": self.source, "corrects": dict(corrects)}
        if not others:
            return data
        moment = self.moments[others[-1]]
        known = {} if moment is None else {"timestamp": protocol.timestamp(moment)}
        return {"price": self.closes[others[-1]], "volume": 0, **known, **data}

    def _correct(self, id: str, corrects: object) -> None:
        """Remove a trade, or set its right price."""
        if id not in self.ids:
            return
        try:
            price, _ = corrected_price(corrects)
        except InvalidTick:
            return
        place = self.ids.index(id)
        if price is not None:
            self.closes[place] = price
            return
        del self.closes[place], self.moments[place], self.ids[place]
        newest = self.moments[-1] if self.moments else None
        self.timestamp = None if newest is None else protocol.timestamp(newest)

    @property
    def as_of(self) -> datetime:
        """When the last price was current, by its market's clock; the present if unknown."""
        return _moment(self.timestamp) or datetime.now(UTC)

    def series(self, bars: Sequence[tuple[datetime, float]] = ()) -> PriceSeries:
        """The closes, preceded by those of stored bars (start and close, oldest first)."""
        if self.bar_date is not None:
            closes = tuple(close for _, close in bars) + tuple(self.closes)
            spacing = mean_spacing([start for start, _ in bars] + self.moments)
            return PriceSeries(closes, Bar.Interval.DAY.value, self.as_of, spacing, self.source)
        minutes = {**dict(bars), **self.minutes()}
        if len(minutes) >= MIN_CLOSES:
            closes = tuple(minutes[start] for start in sorted(minutes))
            return PriceSeries(closes, Bar.Interval.MINUTE.value, self.as_of, _MINUTE, self.source)
        spacing = mean_spacing(self.moments)
        return PriceSeries(tuple(self.closes), "update", self.as_of, spacing, self.source)

    def minutes(self) -> dict[datetime, float]:
        """The last price of each minute, by its first moment; only updates with a time count."""
        return {
            moment.replace(second=0, microsecond=0): close
            for moment, close in zip(self.moments, self.closes, strict=True)
            if moment is not None
        }


def gathered(updates: Iterable[Mapping[str, object]]) -> RecentPrices:
    """RecentPrices of `data` objects, oldest first, from the source of the newest one.

    A price that was sent by hand while a feed runs does not discard the feed's older prices.
    """
    held = list(updates)
    source = next((_text(data.get("source")) for data in reversed(held)), None)
    prices = RecentPrices(source=source)
    for data in held:
        if _text(data.get("source")) == source:
            prices.add(data)
    return prices


async def market_data(symbol: str, limit: int) -> list[dict[str, object]]:
    """The newest `data` objects of a symbol, oldest first; raises PublishFailed.

    PublishFailed also means that the history cannot be read: a caller that reads and publishes has
    one error to retry on.
    """
    try:
        return await broadcast.recent_updates("market-data", symbol, limit)
    except (BackendUnavailable, RedisError, OSError) as exc:
        raise broadcast.PublishFailed(exc) from exc


async def recent_prices(symbol: str) -> RecentPrices:
    """The prices in the newest HISTORY updates of a symbol; raises PublishFailed."""
    return gathered(await market_data(symbol, HISTORY))


def mean_spacing(moments: Sequence[datetime | None]) -> timedelta:
    """The mean time between two closes; zero if they have no times."""
    known = [moment for moment in moments if moment is not None]
    if len(known) < 2:
        return timedelta(0)
    return max(timedelta(0), (known[-1] - known[0]) / (len(known) - 1))


def _moment(text: str | None) -> datetime | None:
    try:
        return in_utc(datetime.fromisoformat(text or ""))
    except (ValueError, OverflowError):
        return None


def _start(bar_date: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(bar_date), time(), UTC)
    except ValueError:
        return None


def _price(value: object) -> float | None:
    """A finite number above zero as a float, else None."""
    price = number(value)
    return price if price is not None and price > 0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
