"""A replay that begins again, with the recorder and the resolver beside it, in one process."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from functools import partial
from itertools import pairwise

import pytest
import pytest_asyncio
from channels.db import database_sync_to_async
from django.utils import timezone

from realtime import broadcast, models
from realtime.bars.recorder import run_recorder
from realtime.feeds.csv_bars import DailyBar
from realtime.feeds.replay import Replay
from realtime.feeds.runner import FeedRunner
from realtime.models import StoredPrediction
from realtime.predictions.resolve import run_outcomes
from tests.clients import wait_for
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)

HORIZON = 3
POISON = 123456.0
BARS = [
    DailyBar(date(2008, 1, 1) + timedelta(n), 100.0, 110.0, 90.0, 100.0 + n % 7, 1000)
    for n in range(80)
]
# 50 bars of four ticks: a lap of five seconds.
RATE = 40.0


@pytest_asyncio.fixture
async def running() -> AsyncIterator[FeedRunner]:
    stop = asyncio.Event()
    runner = FeedRunner(
        feed=Replay(bars={"AAPL": BARS}, rate=RATE),
        symbols=["AAPL"],
        predict_every=0.2,
        horizon=HORIZON,
        stop=stop,
    )
    tasks = [
        asyncio.create_task(work)
        for work in (
            run_recorder(stop, flush_every=0.1), run_outcomes(stop, every=0.1), runner.run()
        )
    ]  # fmt: skip
    yield runner
    stop.set()
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)


def resolved_since(moment: object) -> list[StoredPrediction]:
    return list(StoredPrediction.objects.filter(resolved_at__gt=moment, resolved_at__isnull=False))


@pytest.mark.slow
async def test_the_next_lap_does_not_know_its_future_from_the_last_one(running: FeedRunner) -> None:
    await wait_for(partial(laps_begun, 2), seconds=60)
    # What the last lap has left for this one; not the bars that predictions wait for just now.
    old = timezone.now() - timedelta(seconds=2)
    stale = models.Bar.objects.filter(updated_at__lt=old)
    assert await database_sync_to_async(stale.update)(close=POISON)
    begun = timezone.now()

    async def enough() -> bool:
        return len(await database_sync_to_async(resolved_since)(begun)) >= 10

    await wait_for(enough, seconds=60)
    outcomes = await database_sync_to_async(resolved_since)(begun)
    closes = {bar.day: bar.close for bar in BARS}
    for row in outcomes:
        assert row.actual_price == closes[row.as_of.date() + timedelta(days=HORIZON)]


async def test_what_a_feed_predicts_is_stored_as_it_was_published(running: FeedRunner) -> None:
    async def published() -> list[dict[str, object]]:
        return await broadcast.recent_updates("predictions", "AAPL")

    data = (await wait_for(published))[0]
    row = await database_sync_to_async(StoredPrediction.objects.get)(pk=data["prediction_id"])
    assert (row.model, row.source, row.step) == ("random_walk", "replay", "1d")
    assert row.predicted_price == data["predicted_price"]


async def laps_begun(count: int) -> bool:
    """The market's clock went back this often, less one: seen in what is published."""
    days = [data["bar_date"] for data in await broadcast.recent_updates("market-data", "AAPL", 300)]
    back = sum(later < earlier for earlier, later in pairwise(days))
    return back >= count - 1
