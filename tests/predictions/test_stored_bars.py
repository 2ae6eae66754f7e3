"""Bars from the database, before what a stream still holds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from realtime.models import Bar
from realtime.predictions.prices import RecentPrices, gathered
from realtime.predictions.stored_bars import FILLED, filled_series

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2024, 1, 1, tzinfo=UTC)


async def store(
    count: int, *, step: timedelta = timedelta(days=1), source: str = "replay", first: float = 1.0
) -> None:
    interval = Bar.Interval.DAY if step.days else Bar.Interval.MINUTE
    await Bar.objects.abulk_create(
        Bar(symbol="AAPL", interval=interval, source=source, start=START + n * step,
            open=first + n, high=first + n, low=first + n, close=first + n)
        for n in range(count)
    )  # fmt: skip


def day(number: int, price: float, source: str = "replay") -> dict[str, Any]:
    moment = START + timedelta(days=number)
    return {
        "price": price, "source": source,
        "bar_date": moment.date().isoformat(), "timestamp": moment.isoformat(),
    }  # fmt: skip


async def test_bars_before_the_history_come_first() -> None:
    await store(5)
    series = await filled_series("AAPL", gathered([day(3, 99.0), day(4, 98.0)]))
    assert series.closes == (1.0, 2.0, 3.0, 99.0, 98.0)
    assert (series.step, series.spacing, series.source) == ("1d", timedelta(days=1), "replay")


async def test_bars_of_another_source_are_another_series() -> None:
    await store(5, source="ccxt:binance")
    series = await filled_series("AAPL", gathered([day(3, 99.0)]))
    assert series.closes == (99.0,)


async def test_no_more_bars_than_a_predictor_can_use() -> None:
    await store(FILLED + 50)
    held = gathered([day(FILLED + n, 5.0) for n in range(20)])
    assert len((await filled_series("AAPL", held)).closes) == FILLED


async def test_stored_minutes_fill_in_before_the_minutes_of_single_updates() -> None:
    await store(40, step=timedelta(minutes=1), source="live")
    moment = START + timedelta(minutes=39, seconds=30)
    update = {"price": 7.0, "source": "live", "timestamp": moment.isoformat()}
    series = await filled_series("AAPL", gathered([update]))
    assert (series.step, len(series.closes)) == ("1m", 40)
    assert series.closes[-2:] == (39.0, 7.0)


async def test_updates_of_unknown_times_stay_alone() -> None:
    await store(40, step=timedelta(minutes=1), source="")
    assert (await filled_series("AAPL", gathered([{"price": 7.0}]))).closes == (7.0,)


async def test_a_stream_that_forgot_its_prices_has_those_of_the_source_written_last() -> None:
    await store(40, source="old")
    await store(35, source="replay", first=100.0)
    series = await filled_series("AAPL", RecentPrices())
    assert (len(series.closes), series.closes[-1], series.source) == (35, 134.0, "replay")


async def test_without_prices_and_bars_there_is_nothing() -> None:
    assert (await filled_series("AAPL", RecentPrices())).closes == ()
