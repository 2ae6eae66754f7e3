"""Predictions on request."""

from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async
from rest_framework.test import APIClient

from realtime.broadcast import abroadcast_many, market_data_update
from realtime.models import StoredPrediction, WebhookDelivery, WebhookEndpoint
from realtime.predictions.records import arecord_prediction
from tests.clients import Open
from tests.consumers import bearer
from tests.wire import Message


async def _give_market_data(symbol: str) -> None:
    prices = [100 + n % 7 for n in range(60)]
    await abroadcast_many([market_data_update(symbol, {"price": price}) for price in prices])


async def test_a_requested_prediction_is_acknowledged_and_made(
    each_layer: str, connect: Open
) -> None:
    await _give_market_data("AAPL")
    client = await connect("/ws/predictions/AAPL")
    answer = await client.ask("request_prediction")
    assert (answer["type"], answer["symbol"]) == ("prediction_requested", "AAPL")
    prediction = await client.next()
    assert prediction["type"] == "prediction_update"
    assert prediction["request_id"] == answer["request_id"]
    assert prediction["symbol"] == "AAPL"
    data = prediction["data"]
    assert data["lower_bound"] < data["predicted_price"] < data["upper_bound"]
    assert 0 < data["confidence"] < 1


async def test_a_requested_prediction_goes_to_the_requester_alone(
    each_layer: str, connect: Open
) -> None:
    await _give_market_data("AAPL")
    client, other = await connect("/ws/predictions/AAPL"), await connect("/ws/predictions/AAPL")
    await client.ask("request_prediction")
    await client.next()
    await other.assert_quiet()


async def test_a_prediction_has_the_horizon_that_was_asked_for(
    each_layer: str, connect: Open
) -> None:
    await _give_market_data("AAPL")
    client = await connect("/ws/predictions/AAPL")
    near = await client.ask("request_prediction", horizon=1)
    near = await client.until("prediction_update", request_id=near["request_id"])
    far = await client.ask("request_prediction", symbol="aapl", horizon=30)
    far = await client.until("prediction_update", request_id=far["request_id"])
    assert (near["data"]["horizon"], far["data"]["horizon"]) == (1, 30)
    assert _width(far) > _width(near)


def _width(prediction: Message) -> float:
    result: float = prediction["data"]["upper_bound"] - prediction["data"]["lower_bound"]
    return result


async def test_a_prediction_without_prices_fails_with_the_reason(connect: Open) -> None:
    client = await connect("/ws/predictions/AAPL")
    await client.send("request_prediction", id="why")
    error = await client.until("error")
    assert error["code"] == "prediction_failed"
    assert "AAPL" in error["message"]
    assert error["details"]["reason"] == "unknown_symbol"
    assert error["id"] == "why"
    await client.assert_alive()


async def test_too_few_prices_are_a_reason_of_their_own(connect: Open) -> None:
    await abroadcast_many([market_data_update("AAPL", {"price": 100})])
    client = await connect("/ws/predictions/AAPL")
    await client.send("request_prediction")
    error = await client.until("error")
    assert error["details"]["reason"] == "not_enough_prices"


@pytest.mark.django_db(transaction=True)
async def test_a_requested_prediction_is_stored(connect: Open) -> None:
    await _give_market_data("AAPL")
    client = await connect("/ws/predictions/AAPL")
    await client.ask("request_prediction")
    data = (await client.until("prediction_update"))["data"]
    row = await StoredPrediction.objects.aget()
    assert (data["prediction_id"], data["horizon"]) == (row.prediction_id, 1)
    assert data["valid_until"]


async def test_which_symbol_to_predict_must_be_clear(connect: Open) -> None:
    client = await connect("/ws/predictions")
    answer = await client.ask("request_prediction")
    assert answer["type"] == "error"
    assert "symbol" in answer["message"]
    answer = await client.ask("request_prediction", symbol="A B")
    assert answer["code"] == "invalid_symbol"


async def test_too_many_predictions_are_told_when_to_come_back(
    connect: Open, settings: Any
) -> None:
    settings.REALTIME_PREDICTIONS_PER_MINUTE = 2
    await _give_market_data("AAPL")
    client = await connect("/ws/predictions/AAPL")
    for _ in range(2):
        await client.send("request_prediction")
        # The predictions themselves come in between, as soon as they are made.
        await client.until("prediction_requested")
    await client.send("request_prediction")
    answer = await client.until("error")
    assert (answer["code"], answer["retry"]) == ("rate_limited", True)
    assert 0 < answer["retry_after_ms"] <= 60_000


@pytest.mark.django_db(transaction=True)
async def test_a_new_socket_is_no_new_minute(
    each_layer: str, connect: Open, people: SimpleNamespace, settings: Any
) -> None:
    settings.REALTIME_PREDICTIONS_PER_MINUTE = 2
    await _give_market_data("AAPL")
    for _ in range(2):
        client = await connect("/ws/predictions/AAPL", headers=bearer(people.token))
        await client.send("request_prediction")
        await client.until("prediction_update")
        await client.leave()
    client = await connect("/ws/predictions/AAPL", headers=bearer(people.token))
    for _ in range(2):
        answer = await client.ask("request_prediction")
        assert (answer["code"], answer["retry"]) == ("rate_limited", True)
        assert 0 < answer["retry_after_ms"] <= 60_000
    other = await connect(f"/ws/predictions/AAPL?token={people.key}")
    assert (await other.ask("request_prediction"))["type"] == "prediction_requested"


async def test_anonymous_clients_share_the_limit_of_their_address(
    each_layer: str, connect: Open, settings: Any
) -> None:
    settings.REALTIME_PREDICTIONS_PER_MINUTE = 1
    settings.REALTIME_TRUSTED_PROXIES = ["unix"]
    await _give_market_data("AAPL")
    first = await connect("/ws/predictions/AAPL", headers=come_from("192.0.2.1"))
    await first.ask("request_prediction")
    same = await connect("/ws/predictions/AAPL", headers=come_from("192.0.2.1"))
    assert (await same.ask("request_prediction"))["code"] == "rate_limited"
    other = await connect("/ws/predictions/AAPL", headers=come_from("192.0.2.2"))
    assert (await other.ask("request_prediction"))["type"] == "prediction_requested"


@pytest.mark.django_db(transaction=True)
async def test_a_requested_prediction_is_no_news_for_others(
    connect: Open, people: SimpleNamespace
) -> None:
    await database_sync_to_async(WebhookEndpoint.objects.create_endpoint)(
        people.alice, "https://example.com/hook"
    )
    await arecord_prediction("AAPL", {"predicted_price": 150.0})
    await _give_market_data("AAPL")
    client = await connect("/ws/predictions/AAPL")
    await client.ask("request_prediction")
    while not await StoredPrediction.objects.filter(requested=True).aexists():
        await client.next()
    assert await WebhookDelivery.objects.acount() == 1
    latest = await database_sync_to_async(_latest)(people.token)
    assert [row["predicted_price"] for row in latest] == [150.0]


def come_from(address: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", address.encode())]


def _latest(token: str) -> list[dict[str, Any]]:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    found: list[dict[str, Any]] = client.get("/api/v1/predictions/latest").json()["predictions"]
    return found
