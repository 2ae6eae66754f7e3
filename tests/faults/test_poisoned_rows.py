"""One row that cannot be worked on costs all others nothing, in each loop that serves everybody.

Also a row that is stored already, and after a restart. The recorder's: feeds/test_recorder.py.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from realtime import aside
from realtime.broadcast import abroadcast_market_data
from realtime.delivery import staleness
from realtime.models import (
    Bar,
    PredictionScore,
    Silence,
    StoredPrediction,
    WebhookDelivery,
    WebhookEndpoint,
)
from realtime.predictions.resolve import resolve_due, run_outcomes
from realtime.predictions.storage import store_prediction
from realtime.retention import prune, run_retention
from realtime.webhooks import queue
from realtime.webhooks.events import emit
from realtime.webhooks.stale_streams import run_freshness
from realtime.webhooks.worker import run_webhooks
from tests import personas
from tests.clients import wait_for
from tests.patience import PATIENCE
from tests.poison import refusing, write
from tests.predictions.test_resolve import predict, write_days
from tests.webhooks.conftest import endpoint, event

pytestmark = pytest.mark.django_db(transaction=True)
HUGE = 1.7e308


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    aside._told.clear()


def on_sqlite() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL keeps no such value")


@asynccontextmanager
async def running(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> Any:
    """A loop that is still running at the end, and then is stopped."""
    stop = asyncio.Event()
    task = asyncio.create_task(work(stop))
    yield
    assert not task.done(), task
    stop.set()
    await asyncio.wait_for(task, PATIENCE)


# Predictions ------------------------------------------------------------------------------------


def poison_prediction(**values: Any) -> StoredPrediction:
    row = predict(150.0, symbol="BAD", last_price=149.0)
    StoredPrediction.objects.filter(pk=row.pk).update(**values)
    return row


@pytest.mark.parametrize(
    "values",
    [
        {"step": "1h"},
        {"predicted_price": -HUGE},
        {"resolved_at": timezone.now() - 2 * timedelta(minutes=1)},
    ],
)
@pytest.mark.usefixtures("redis_layer")
async def test_a_prediction_that_cannot_be_resolved_is_set_aside(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    bad = await database_sync_to_async(poison_prediction)(**values)
    await database_sync_to_async(write_days)(HUGE, HUGE, symbol="BAD")
    for restart in range(2):
        good = await database_sync_to_async(predict)(150.0, model=f"m{restart}")
        await database_sync_to_async(write_days)(151.0, 152.0)

        async def resolved(good: StoredPrediction = good) -> bool:
            await good.arefresh_from_db()
            return good.announced_at is not None

        async with running(lambda stop: run_outcomes(stop, every=0.05)):
            await wait_for(resolved)
    assert caplog.text.count(f"prediction {bad.pk} of BAD is set aside") == 1


def test_a_prediction_that_cannot_be_read_is_set_aside(caplog: pytest.LogCaptureFixture) -> None:
    on_sqlite()
    bad, good = predict(150.0, symbol="BAD"), predict(150.0)
    write_days(151.0, 152.0)
    write("realtime_storedprediction", bad.pk, "as_of", "2024-13-45 99:00:00")
    assert resolve_due().resolved == 1
    good.refresh_from_db()
    assert good.actual_price == 151.0
    assert f"prediction {bad.pk} is set aside" in caplog.text
    assert resolve_due().looked_at == 0, "it is not looked at again"


def test_a_group_of_outcomes_is_stored_without_the_one_that_is_refused() -> None:
    good, bad = predict(150.0), predict(150.0, source="bad")
    write_days(151.0, 152.0)
    write_days(151.0, 152.0, source="bad")
    with refusing("realtime_storedprediction", "source", "bad", on="UPDATE"):
        assert resolve_due().resolved == 1
    good.refresh_from_db()
    bad.refresh_from_db()
    assert (good.error, bad.error) == (1.0, None)


def test_prices_at_the_end_of_a_float_have_a_score() -> None:
    for price in (HUGE, 1.0, 1.0, 1.0):
        predict(price, last_price=1e-300)
    write_days(HUGE, HUGE)
    assert resolve_due().resolved == 4
    score = PredictionScore.objects.get()
    assert score.outcomes == 4
    assert score.mean_absolute_error == pytest.approx(HUGE * 0.75)


@pytest.mark.parametrize("value", ["Infinity", "-Infinity"])
def test_a_score_that_is_no_number_keeps_nobody_from_predicting(value: str) -> None:
    predict(150.0)
    score = PredictionScore.objects.get()
    stored = value.replace("Infinity", "9e999") if connection.vendor == "sqlite" else f"'{value}'"
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE realtime_predictionscore SET skill = {stored}, outcomes = 3")
    record = store_prediction("AAPL", {"predicted_price": 1, "model": score.model})
    assert "skill" not in record.data["score"]


# Webhooks ---------------------------------------------------------------------------------------


def two_endpoints() -> tuple[WebhookEndpoint, WebhookEndpoint]:
    alice: User = personas.alice()
    return endpoint(alice, "https://bad.example.com/"), endpoint(alice)


@pytest.mark.parametrize("value", ["null", "7", '"AAPL"', "[3]", "[[]]"])
@pytest.mark.parametrize("column", ["events", "symbols"])
def test_an_endpoint_that_wants_nonsense_keeps_no_event_from_others(
    column: str, value: str
) -> None:
    bad, good = two_endpoints()
    write("realtime_webhookendpoint", bad.pk, column, value)
    emit("stream_stale", {"symbol": "AAPL"}, symbol="AAPL")
    assert WebhookDelivery.objects.filter(endpoint=good).count() == 1


def test_an_endpoint_that_cannot_be_read_keeps_no_event_from_others() -> None:
    on_sqlite()
    bad, good = two_endpoints()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
    write("realtime_webhookendpoint", bad.pk, "events", "[oops")
    emit("stream_stale", {"symbol": "AAPL"}, symbol="AAPL")
    assert list(WebhookDelivery.objects.values_list("endpoint", flat=True)) == [good.pk]
    event(bad)
    assert {job.endpoint_id for job in queue.claim(10)} == {bad.pk, good.pk}


@pytest.mark.parametrize("secret", ["é", "", "AAAA"])
def test_a_secret_of_any_kind_keeps_no_delivery_from_others(secret: str) -> None:
    bad, good = two_endpoints()
    write("realtime_webhookendpoint", bad.pk, "sealed_secret", secret)
    for hook in (bad, good):
        event(hook)
    jobs = {job.endpoint_id: job.request.secrets for job in queue.claim(10)}
    assert jobs[bad.pk] == []
    assert len(jobs[good.pk]) == 1


def test_a_delivery_that_the_database_refuses_to_claim_keeps_none_from_others() -> None:
    bad, good = two_endpoints()
    refused = event(bad)
    event(good)
    with refusing("realtime_webhookdelivery", "webhook_id", refused.webhook_id, on="UPDATE"):
        assert [job.endpoint_id for job in queue.claim(10)] == [good.pk]


@pytest.mark.usefixtures("redis_layer")
async def test_old_deliveries_that_cannot_be_deleted_keep_no_new_one_waiting(
    settings: Any,
) -> None:
    settings.REALTIME_WEBHOOK_LOG_DAYS = 10**9
    _, good = await database_sync_to_async(two_endpoints)()
    row = await database_sync_to_async(event)(good)

    async def tried() -> bool:
        return await row.attempts.aexists()

    async with running(run_webhooks):
        await wait_for(tried)


# Quiet streams ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("redis_layer")
async def test_a_silence_that_cannot_be_stored_is_told_of_no_other_stream(
    settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REALTIME_EXPECTED_INTERVAL = {"market-data": 0.2, "predictions": 0.2}
    monkeypatch.setattr(staleness, "TICK", 0.02)
    poison = refusing("realtime_silence", "symbol", "BAD")
    await database_sync_to_async(poison.__enter__)()
    try:
        await abroadcast_market_data("BAD", {"price": 1})
        await asyncio.sleep(0.05)
        await abroadcast_market_data("AAPL", {"price": 1})

        async def told() -> bool:
            return await Silence.objects.filter(symbol="AAPL").aexists()

        async with running(run_freshness):
            await wait_for(told)
    finally:
        await database_sync_to_async(poison.__exit__)(None, None, None)
    assert not await Silence.objects.filter(symbol="BAD").aexists()


# Retention --------------------------------------------------------------------------------------


def old_predictions() -> list[StoredPrediction]:
    rows = [predict(150.0, model=f"m{number}") for number in range(3)]
    long_ago = timezone.now() - timedelta(days=400)
    StoredPrediction.objects.update(created_at=long_ago)
    return rows


@pytest.fixture
def held_table() -> Any:
    """A table of a host project that refers to predictions."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE held (prediction BIGINT REFERENCES realtime_storedprediction (id) "
            "ON DELETE RESTRICT)"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE held")


@pytest.mark.usefixtures("held_table")
def test_a_row_that_somebody_refers_to_is_kept_and_all_others_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held, *_ = old_predictions()
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO held VALUES ({held.pk})")
    assert prune().predictions == 2
    assert StoredPrediction.objects.get() == held
    assert f"deleting prediction {held.pk} is set aside" in caplog.text


async def test_more_days_than_there_are_keep_everything(settings: Any) -> None:
    settings.REALTIME_PREDICTION_DAYS = settings.REALTIME_MINUTE_BAR_DAYS = 10**12
    await database_sync_to_async(old_predictions)()
    async with running(run_retention):
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.Event().wait()
    assert await StoredPrediction.objects.acount() == 3
    assert not await Bar.objects.aexists()
