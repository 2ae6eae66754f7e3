"""An update with an id is published once, however often its call is repeated."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from realtime import broadcast
from realtime.broadcast import (
    InvalidUpdate,
    PublishFailed,
    abroadcast_market_data,
    broadcast_many,
    broadcast_market_data,
    broadcast_prediction_update,
    market_data_update,
    recent_updates,
    send_alert,
)
from realtime.delivery.history_scripts import ONCE_SECONDS
from realtime.models import Alert, StoredPrediction, WebhookDelivery, WebhookEndpoint
from realtime.predictions.records import record_prediction, record_predictions
from realtime.remembered import Remembered
from tests import personas
from tests.conftest import REDIS
from tests.processes import Valkey, free_port

pytestmark = pytest.mark.django_db(transaction=True)

PRICE = {"price": 149.5}
NOBODY = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [f"redis://127.0.0.1:{free_port()}"]}}}


def held(channel: Any = "market-data", symbol: str = "AAPL") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = async_to_sync(recent_updates)(channel, symbol)
    return found


def test_a_repetition_gets_the_first_answer_and_publishes_nothing(each_layer: str) -> None:
    first = broadcast_market_data("AAPL", PRICE, id="a")
    broadcast_market_data("AAPL", {"price": 150})
    again = broadcast_market_data("AAPL", PRICE, id="a")
    assert (again.epoch, again.offset, again.receivers) == (
        first.epoch, first.offset, first.receivers
    )  # fmt: skip
    assert (first.repeated, again.repeated) == (False, True)
    assert len(held()) == 2


def test_another_id_or_stream_is_no_repetition(each_layer: str) -> None:
    offsets = [broadcast_market_data("AAPL", PRICE, id=id).offset for id in ("a", "b")]
    assert offsets == [1, 2]
    assert not broadcast_market_data("MSFT", PRICE, id="a").repeated
    assert not broadcast_prediction_update("AAPL", PRICE, id="a").repeated


def test_repetitions_within_one_call_are_published_once(each_layer: str) -> None:
    updates = [market_data_update("AAPL", PRICE, id=str(number % 60)) for number in range(120)]
    offsets = [each.offset for each in broadcast_many(updates)]
    assert offsets == [*range(1, 61), *range(1, 61)]


def test_updates_of_many_streams_with_and_without_ids_share_a_call(each_layer: str) -> None:
    given = [("AAPL", None), ("MSFT", "a"), ("AAPL", "a"), ("MSFT", None)]
    for repeated in (False, True):
        updates = [market_data_update(symbol, PRICE, id=id) for symbol, id in given]
        sent = broadcast_many(updates)
        assert [each.repeated for each in sent] == [False, repeated, repeated, False]
    assert [len(held(symbol=symbol)) for symbol in ("AAPL", "MSFT")] == [3, 3]


async def test_asynchronous_code_has_the_same_ids(each_layer: str) -> None:
    first = await abroadcast_market_data("AAPL", PRICE, id="a")
    assert (await abroadcast_market_data("AAPL", PRICE, id="a")).offset == first.offset
    assert (await broadcast_market_data("AAPL", PRICE, id="a")).repeated


def test_of_many_at_the_same_time_one_is_published(redis_layer: None) -> None:
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda _: broadcast_market_data("AAPL", PRICE, id="a"), range(40)))
    assert {each.offset for each in sent} == {1}
    assert sum(not each.repeated for each in sent) == 1


def test_what_failed_is_published_by_its_repetition(redis_layer: None, settings: Any) -> None:
    there, settings.CHANNEL_LAYERS = settings.CHANNEL_LAYERS, NOBODY
    with pytest.raises(PublishFailed):
        broadcast_market_data("AAPL", PRICE, id="a")
    settings.CHANNEL_LAYERS = there
    assert not broadcast_market_data("AAPL", PRICE, id="a").repeated


def test_an_id_is_forgotten_after_ten_minutes(redis_layer: None, valkey: Valkey) -> None:
    broadcast_market_data("AAPL", PRICE, id="a")
    client: Any = valkey.client()
    (key,) = client.keys("asgi:once:*")
    assert 0 < client.pttl(key) <= ONCE_SECONDS * 1000
    client.delete(key)
    assert broadcast_market_data("AAPL", PRICE, id="a").offset == 2


def test_a_process_forgets_what_it_remembered() -> None:
    now = 0.0
    held: Remembered[int] = Remembered(10, clock=lambda: now)
    held.put("a", 1)
    now = 9.0
    held.put("b", 2)
    now = 10.0
    assert (held.get("a"), held.get("b"), len(held)) == (None, 2, 1)


def test_a_stock_layer_of_one_process_sends_once(settings: Any, monkeypatch: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    sent: list[Any] = []
    monkeypatch.setattr(broadcast.recording, "record", sent.append)
    for _ in range(2):
        broadcast_market_data("AAPL", PRICE, id="stock")
    assert len(sent) == 1


@pytest.mark.parametrize("id", ["", "x" * 256, 7, "\ud800"], ids=ascii)
def test_a_bad_id_is_named(id: Any) -> None:
    send: list[Callable[[], object]] = [
        lambda: broadcast_market_data("AAPL", PRICE, id=id),
        lambda: send_alert({"message": "m"}, id=id),
        lambda: record_prediction("AAPL", {"predicted_price": 1}, id=id),
    ]
    for call in send:
        with pytest.raises(InvalidUpdate) as info:
            call()
        assert info.value.field == "id"


# Alerts ---------------------------------------------------------------------------------------


def test_an_alert_is_stored_sent_and_told_to_webhooks_once(redis_layer: None) -> None:
    alice = personas.alice()
    WebhookEndpoint.objects.create_endpoint(alice, "https://example.com/hook")
    first, again = (send_alert({"message": "m"}, alice.pk, id="a") for _ in range(2))
    assert (again.offset, again.stored, again.repeated) == (first.offset, True, True)
    assert (Alert.objects.count(), WebhookDelivery.objects.count()) == (1, 1)
    assert Alert.objects.get().sent_at is not None


def test_two_users_may_have_alerts_of_the_same_id(redis_layer: None) -> None:
    for user in (personas.alice(), personas.carol(), None):
        assert not send_alert({"message": "m"}, None if user is None else user.pk, id="a").repeated
    assert Alert.objects.count() == 3


def test_an_alert_that_could_not_be_sent_is_stored_again(redis_layer: None, settings: Any) -> None:
    there, settings.CHANNEL_LAYERS = settings.CHANNEL_LAYERS, NOBODY
    with pytest.raises(PublishFailed):
        send_alert({"message": "m"}, id="a")
    settings.CHANNEL_LAYERS = there
    assert send_alert({"message": "m"}, id="a").stored
    assert Alert.objects.count() == 1


def test_alerts_of_one_call_with_the_same_id_are_stored_once(redis_layer: None) -> None:
    alerts = [broadcast.alert_update({"message": "m"}, id="a") for _ in range(2)]
    assert [each.stored for each in broadcast_many(alerts)] == [True, True]
    assert Alert.objects.count() == 1


# Predictions ----------------------------------------------------------------------------------

DATA = {"predicted_price": 150.25}


def test_a_prediction_is_stored_once_and_published_once(each_layer: str) -> None:
    first, again = (record_prediction("AAPL", DATA, id="a") for _ in range(2))
    assert first.pk == again.pk
    assert StoredPrediction.objects.count() == len(held("predictions")) == 1


def test_of_many_predictions_the_repeated_ones_are_left_out(redis_layer: None) -> None:
    (first,) = record_predictions([("AAPL", DATA, "a")])
    rows = record_predictions([("AAPL", DATA, "a"), ("AAPL", DATA, "b"), ("AAPL", DATA, "b")])
    assert rows[0].pk == first.pk
    assert rows[1].pk == rows[2].pk
    assert StoredPrediction.objects.count() == len(held("predictions")) == 2


def test_a_repetition_publishes_what_was_only_stored(redis_layer: None, settings: Any) -> None:
    there, settings.CHANNEL_LAYERS = settings.CHANNEL_LAYERS, NOBODY
    with pytest.raises(PublishFailed):
        record_prediction("AAPL", DATA, id="a")
    settings.CHANNEL_LAYERS = there
    row = record_prediction("AAPL", DATA, id="a")
    assert [each["prediction_id"] for each in held("predictions")] == [row.prediction_id]
    assert StoredPrediction.objects.count() == 1


def test_a_late_repetition_does_not_pass_for_a_new_prediction(redis_layer: None) -> None:
    row = record_prediction("AAPL", DATA, id="a")
    StoredPrediction.objects.update(created_at=timezone.now() - timedelta(hours=1))
    assert record_prediction("AAPL", DATA, id="a").pk == row.pk
    assert len(held("predictions")) == 1


async def test_two_at_the_same_time_store_one(redis_layer: None) -> None:
    from realtime.predictions.records import arecord_prediction

    rows = await asyncio.gather(*(arecord_prediction("AAPL", DATA, id="a") for _ in range(5)))
    assert len({row.pk for row in rows}) == 1
