"""What the database forgets, and the schedule that has it done."""

import asyncio
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.conf import settings as django_settings
from django.core.management import call_command, get_commands
from django.utils import timezone

from ara_project.celery import app
from realtime import retention, tasks
from realtime.models import Bar, PredictionScore, StoredPrediction
from realtime.retention import Pruned, prune, run_retention
from tests.clients import wait_for
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db


def prediction(created_at: datetime) -> StoredPrediction:
    return StoredPrediction.objects.create(
        symbol="AAPL", predicted_price=1, as_of=created_at, valid_until=created_at,
        created_at=created_at,
    )  # fmt: skip


def bar(interval: str, written: datetime, number: int = 0) -> None:
    start = datetime(2008, 1, 2, tzinfo=written.tzinfo) + timedelta(minutes=number)
    made = Bar.objects.create(
        symbol="AAPL", interval=interval, start=start, open=1, high=1, low=1, close=1
    )
    Bar.objects.filter(pk=made.pk).update(updated_at=written)


def days_ago(count: int) -> datetime:
    return timezone.now() - timedelta(days=count)


def test_old_predictions_go_and_scores_stay() -> None:
    PredictionScore.objects.create(symbol="AAPL", outcomes=5)
    prediction(days_ago(91))
    young = prediction(days_ago(89))
    assert prune() == Pruned(predictions=1, bars=0)
    assert StoredPrediction.objects.get() == young
    assert PredictionScore.objects.get().outcomes == 5


def test_old_minutes_go_and_days_stay() -> None:
    bar("1m", days_ago(31))
    bar("1m", days_ago(29), 1)
    bar("1d", days_ago(31))
    assert prune() == Pruned(predictions=0, bars=1)
    assert sorted(Bar.objects.values_list("interval", flat=True)) == ["1d", "1m"]


def test_zero_days_keep_everything(settings: Any) -> None:
    settings.REALTIME_PREDICTION_DAYS = settings.REALTIME_MINUTE_BAR_DAYS = 0
    prediction(days_ago(9000))
    bar("1m", days_ago(9000))
    assert prune() == Pruned(0, 0)


def test_many_rows_go_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for number in range(5):
        bar("1m", days_ago(31), number)
    assert prune().bars == 5


def test_the_command_and_the_task_say_what_went() -> None:
    prediction(days_ago(91))
    out = StringIO()
    call_command("prune_history", stdout=out)
    assert out.getvalue() == "1 predictions and 0 bars of a minute deleted.\n"
    assert tasks.prune_history.apply().get() == "0 predictions and 0 bars of a minute deleted"


@pytest.mark.django_db(transaction=True)
async def test_a_process_that_runs_on_prunes_now_and_again() -> None:
    gone = StoredPrediction.objects.filter(created_at__lt=days_ago(90))

    async def none_left() -> bool:
        return not await database_sync_to_async(gone.exists)()

    stop = asyncio.Event()
    running = asyncio.create_task(run_retention(stop, every=0.05))
    for _ in range(2):
        await database_sync_to_async(prediction)(days_ago(91))
        await wait_for(none_left)
    stop.set()
    await asyncio.wait_for(running, PATIENCE)


@pytest.mark.parametrize("entry", django_settings.CELERY_BEAT_SCHEDULE.values(), ids=str)
def test_what_beat_runs_exists_as_a_task_and_as_a_command(entry: dict[str, Any]) -> None:
    name = entry["task"].rpartition(".")[2]
    assert entry["task"] in app.tasks
    assert name in get_commands()
    assert entry["options"]["expires"] <= entry["schedule"]
