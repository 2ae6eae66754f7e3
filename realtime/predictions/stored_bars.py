"""Stored bars before the prices that a stream still holds, so that a predictor has enough."""

import logging
import math
from datetime import datetime, timedelta
from typing import Final

from realtime.db import DatabaseThread
from realtime.models import Bar
from realtime.predictions.predictors import MIN_CLOSES
from realtime.predictions.prices import PriceSeries, RecentPrices, mean_spacing

logger = logging.getLogger(__name__)

# Closes that are filled up to: 500 returns.
FILLED: Final = 501

Closes = list[tuple[datetime, float]]  # start and close, oldest first


async def filled_series(symbol: str, prices: RecentPrices) -> PriceSeries:
    """The series of a symbol's prices, with bars of the same source where it is short.

    For a stream without prices, the bars come from the source that was written last. While the
    database is away, the series has no stored bars.
    """
    held = prices.series()  # before anything is awaited: `prices` goes on growing
    # A series of single updates may span a few minutes; with stored bars it becomes one of minutes.
    count = 0 if held.step == "update" else len(held.closes)
    unknown = prices.closes and all(moment is None for moment in prices.moments)
    if unknown or count >= FILLED:
        return held  # their time is unknown, and so is which bars lie before them
    frozen = RecentPrices(
        list(prices.closes), prices.source, prices.bar_date, prices.timestamp, list(prices.moments)
    )
    try:
        found = await _afill(symbol, frozen, FILLED - count)
    except Exception as exc:
        # Any error of the driver.
        logger.warning("stored bars of %s cannot be read: %s: %s", symbol, type(exc).__name__, exc)
        return held
    return found or held


def _fill(symbol: str, prices: RecentPrices, most: int) -> PriceSeries | None:
    """None: no stored bars can precede these prices."""
    if not prices.closes:
        return _stored_series(symbol)
    first = next(moment for moment in prices.moments if moment is not None)
    interval = Bar.Interval.DAY
    if prices.bar_date is None:
        interval, first = Bar.Interval.MINUTE, first.replace(second=0, microsecond=0)
    bars = _bars(symbol, interval, prices.source or "", most, first)
    return prices.series(bars) if bars else None


# A thread for reads, which need not wait for writes.
thread: Final = DatabaseThread("read-bars")
_afill = thread.run(_fill)


def _stored_series(symbol: str) -> PriceSeries | None:
    for interval in (Bar.Interval.DAY, Bar.Interval.MINUTE):
        bars = Bar.objects.filter(symbol=symbol, interval=interval)
        newest = bars.order_by("-updated_at").first()
        if newest is None:
            continue
        closes = _bars(symbol, interval, newest.source, FILLED)
        if len(closes) >= MIN_CLOSES:
            return _series_of(interval, newest.source, closes)
    return None


def _series_of(interval: Bar.Interval, source: str, bars: Closes) -> PriceSeries:
    starts = [start for start, _ in bars]
    daily = interval is Bar.Interval.DAY
    return PriceSeries(
        tuple(close for _, close in bars),
        interval.value,
        starts[-1],
        mean_spacing(starts) if daily else timedelta(minutes=1),
        source or None,
    )


def _bars(
    symbol: str, interval: Bar.Interval, source: str, most: int, before: datetime | None = None
) -> Closes:
    """The newest bars of a series."""
    bars = Bar.objects.filter(symbol=symbol, interval=interval, source=source)
    if before is not None:
        bars = bars.filter(start__lt=before)
    rows = bars.order_by("-start").values_list("start", "close")[:most]
    # An invalid price, wherever it comes from, would leave the symbol without any prediction.
    return [(start, close) for start, close in rows if _is_price(close)][::-1]


def _is_price(close: object) -> bool:
    return isinstance(close, float) and 0 < close < math.inf
