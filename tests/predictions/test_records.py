"""Saved, then broadcast; and what the subscribers get when something of it fails."""

import asyncio
import json
import threading
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.db import DatabaseError, connection, transaction

from realtime import broadcast
from realtime.broadcast import InvalidUpdate, PublishFailed
from realtime.models import (
    PredictionScore,
    StoredPrediction,
    WebhookDelivery,
    WebhookEndpoint,
)
from realtime.predictions import records
from realtime.predictions.records import arecord_prediction, record_prediction, stored_data
from tests import personas
from tests.clients import wait_for
from tests.conftest import REDIS
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)

DATA = {"predicted_price": 150.25, "confidence": 0.85, "timestamp": "2024-01-01T12:00:00Z"}


async def published() -> list[dict[str, Any]]:
    return await broadcast.recent_updates("predictions", "AAPL")


async def test_a_recorded_prediction_is_saved_and_published_with_its_id() -> None:
    row = await arecord_prediction("aapl", DATA)
    (data,) = await published()
    assert data == {
        **DATA, "prediction_id": str(row.pk), "valid_until": "2024-01-02T12:00:00.000Z"
    }  # fmt: skip
    stored = await StoredPrediction.objects.aget()
    assert (stored.symbol, stored.predicted_price, stored.confidence) == ("AAPL", 150.25, 0.85)


def test_it_works_from_synchronous_code(redis_layer: None) -> None:
    row = record_prediction("AAPL", {"prediction": 150.0})
    assert StoredPrediction.objects.get().pk == row.pk
    assert broadcast.broadcast_prediction_update("AAPL", {}).offset == 2


def test_what_rolls_back_is_neither_saved_nor_published(redis_layer: None) -> None:
    with transaction.atomic():
        record_prediction("AAPL", DATA)
        transaction.set_rollback(True)
    assert not StoredPrediction.objects.exists()
    assert broadcast.broadcast_prediction_update("AAPL", {}).offset == 1


@pytest.mark.parametrize(
    ("symbol", "data", "field"),
    [
        ("A B", DATA, "symbol"),
        ("AAPL", [], "prediction_data"),
        ("AAPL", {"price": 1}, "prediction_data.predicted_price"),
        ("AAPL", {**DATA, "x": object()}, "prediction_data.x"),
        ("AAPL", {**DATA, "x": "y" * 65_480}, "prediction_data"),
    ],
)
async def test_what_is_refused_is_named_and_leaves_nothing(
    symbol: str, data: Any, field: str
) -> None:
    with pytest.raises(InvalidUpdate) as info:
        await arecord_prediction(symbol, data)
    assert info.value.field == field
    assert not await StoredPrediction.objects.aexists()
    assert await published() == []


async def test_a_webhook_hears_of_it_in_the_same_transaction() -> None:
    alice = await database_sync_to_async(personas.alice)()
    await database_sync_to_async(WebhookEndpoint.objects.create_endpoint)(
        alice, "https://example.com/hook"
    )
    row = await arecord_prediction("AAPL", DATA)
    delivery = await WebhookDelivery.objects.aget()
    assert delivery.event == "prediction_complete"
    data = json.loads(delivery.body)["data"]
    assert (data["symbol"], data["prediction_id"]) == ("AAPL", row.prediction_id)


async def test_synchronous_code_on_an_event_loop_is_told_the_other_name() -> None:
    with pytest.raises(RuntimeError, match="arecord_prediction"):
        record_prediction("AAPL", DATA)


async def test_the_score_so_far_travels_with_the_prediction() -> None:
    await PredictionScore.objects.acreate(
        symbol="AAPL", model="m", outcomes=4, mean_absolute_error=1.5, skill=0.25
    )
    await arecord_prediction("AAPL", {**DATA, "model": "m"})
    await arecord_prediction("AAPL", {**DATA, "model": "another"})
    first, second = await published()
    assert first["score"] == {
        "outcomes": 4, "mean_absolute_error": 1.5, "skill": 0.25, "window": 200
    }  # fmt: skip
    assert "score" not in second


async def test_what_could_not_be_published_is_saved_and_told(settings: Any) -> None:
    nobody = {"hosts": ["redis://127.0.0.1:1"]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": nobody}}
    with pytest.raises(PublishFailed):
        await arecord_prediction("AAPL", DATA)
    assert await StoredPrediction.objects.acount() == 1


@pytest.fixture
def no_table() -> Any:
    """A database that refuses: its table has another name for a while."""
    table = StoredPrediction._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO hidden")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE hidden RENAME TO {table}")


async def test_whoever_records_hears_of_a_database_that_refuses(no_table: None) -> None:
    with pytest.raises(DatabaseError):
        await arecord_prediction("AAPL", DATA)
    assert await published() == []


async def test_subscribers_get_what_cannot_be_stored_without_an_id(
    no_table: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert await stored_data("AAPL", DATA) == DATA
    assert "a prediction for AAPL is published but not stored" in caplog.text


async def test_what_a_feed_predicts_is_stored() -> None:
    data = await stored_data("AAPL", DATA)
    assert data["prediction_id"] == (await StoredPrediction.objects.aget()).prediction_id


async def test_a_database_that_is_slow_does_not_hold_up_the_subscribers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(records, "STORE_SECONDS", 0.1)
    held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():  # on SQLite it takes the one lock for writing at once
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("LOCK TABLE realtime_storedprediction IN EXCLUSIVE MODE")
            held.set()
            may_go.wait(PATIENCE)

    holding = asyncio.create_task(database_sync_to_async(hold, thread_sensitive=False)())
    await asyncio.to_thread(held.wait, 10)
    assert await stored_data("AAPL", DATA) == DATA
    assert "a prediction for AAPL is published but not stored" in caplog.text
    may_go.set()
    await holding
    await wait_for(StoredPrediction.objects.aexists)
