"""Many predictions at once: checked one by one, stored all or none, and broadcast in order."""

import json
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from realtime import broadcast
from realtime.broadcast import InvalidUpdate
from realtime.models import PredictionScore, StoredPrediction, WebhookDelivery, WebhookEndpoint
from realtime.predictions.records import (
    arecord_predictions,
    record_prediction,
    record_predictions,
)
from tests import personas
from tests.test_commands import last

pytestmark = pytest.mark.django_db(transaction=True)

Given = list[tuple[str, dict[str, Any]]]


def given(count: int) -> Given:
    return [(f"S{number % 7}", {"predicted_price": 100 + number}) for number in range(count)]


def test_all_are_stored_and_published_in_order(redis_layer: None) -> None:
    rows = record_predictions(given(20))
    assert [row.pk for row in rows] == [
        row.pk for row in StoredPrediction.objects.order_by("predicted_price")
    ]
    assert [data["prediction_id"] for data in last("predictions", "S1")] == [
        row.prediction_id for row in rows if row.symbol == "S1"
    ]


async def test_asynchronous_code_has_the_same() -> None:
    rows = await arecord_predictions(given(3))
    (data,) = await broadcast.recent_updates("predictions", "S2")
    assert data["prediction_id"] == rows[2].prediction_id


def test_they_are_stored_as_single_ones_are(redis_layer: None) -> None:
    data = {"predicted_price": 150.25, "horizon": 5, "step": "1m", "model": "m", "confidence": 0.5}
    data |= {"timestamp": "2024-01-01T12:00:00Z"}
    record_prediction("AAPL", data)
    record_predictions([("AAPL", data)])
    one, other = StoredPrediction.objects.order_by("pk").values()
    same = one.keys() - {"id", "created_at", "check_at"}
    assert {name: one[name] for name in same} == {name: other[name] for name in same}


def test_one_that_is_wrong_is_named_and_none_is_stored(redis_layer: None) -> None:
    with pytest.raises(InvalidUpdate) as info:
        record_predictions([*given(3), ("AAPL", {"predicted_price": -1})])
    assert info.value.field == "predictions[3].prediction_data.predicted_price"
    assert not StoredPrediction.objects.exists()
    assert last("predictions", "S0") == []


def test_what_rolls_back_is_neither_stored_nor_published(redis_layer: None) -> None:
    with transaction.atomic():
        record_predictions(given(3))
        transaction.set_rollback(True)
    assert not StoredPrediction.objects.exists()
    assert last("predictions", "S0") == []


def test_none_at_all_is_no_error(redis_layer: None) -> None:
    assert record_predictions([]) == []


async def test_synchronous_code_on_an_event_loop_is_told_the_other_name() -> None:
    with pytest.raises(RuntimeError, match="arecord_predictions"):
        record_predictions(given(1))


def test_a_webhook_hears_of_each_that_it_wants(redis_layer: None) -> None:
    WebhookEndpoint.objects.create_endpoint(
        personas.alice(), "https://example.com/hook", symbols=["S1"]
    )
    rows = record_predictions(given(14))
    bodies = [json.loads(row.body)["data"] for row in WebhookDelivery.objects.order_by("pk")]
    assert [data["prediction_id"] for data in bodies] == [
        rows[1].prediction_id,
        rows[8].prediction_id,
    ]
    assert WebhookDelivery.objects.values("webhook_id").distinct().count() == 2


def test_each_has_the_score_of_its_symbol_and_model(redis_layer: None) -> None:
    PredictionScore.objects.create(symbol="S0", model="m", outcomes=4, skill=0.25)
    record_predictions([("S0", {"predicted_price": 1, "model": name}) for name in ("m", "n")])
    first, second = last("predictions", "S0")
    assert first["score"]["outcomes"] == 4
    assert "score" not in second
    assert PredictionScore.objects.count() == 2


async def test_the_statements_do_not_grow_with_the_number() -> None:
    await database_sync_to_async(_record_and_count)(7)
    few = await database_sync_to_async(_record_and_count)(7)
    assert await database_sync_to_async(_record_and_count)(300) <= few + 10


def _record_and_count(number: int) -> int:
    from realtime.predictions.storage import check_prediction, store_checked

    with CaptureQueriesContext(connection) as queries:
        store_checked([check_prediction(*each) for each in given(number)])
    return len(queries)
