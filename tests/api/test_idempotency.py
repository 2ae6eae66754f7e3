"""The header Idempotency-Key, and `id` in a body: one request, however often it is sent."""

import json
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connections
from rest_framework.test import APIClient

from realtime.api import idempotency, recording
from realtime.broadcast import recent_updates
from realtime.models import Alert, StoredPrediction
from tests import personas
from tests.patience import PATIENCE
from tests.processes import Valkey, free_port

pytestmark = pytest.mark.django_db(transaction=True)

MARKET = {"type": "market_data_update", "symbol": "AAPL", "data": {"price": 149.5}}
ALERT = {"type": "alert", "data": {"message": "up"}}
PREDICTION = {"symbol": "AAPL", "data": {"predicted_price": 150.25}}
BODIES = {"publish": MARKET, "predictions": PREDICTION}


def publisher(**arguments: Any) -> APIClient:
    _, raw = personas.bob_key(scopes=["publish"], **arguments)
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=raw)
    return client


def post(client: APIClient, path: str, body: Any, key: str | None = None) -> Any:
    headers: Any = {} if key is None else {"HTTP_IDEMPOTENCY_KEY": key}
    text = json.dumps(body)
    return client.post(f"/api/v1/{path}", text, content_type="application/json", **headers)


def count(channel: Any = "market-data") -> int:
    return len(async_to_sync(recent_updates)(channel, "AAPL"))


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("many", [False, True])
def test_a_repetition_is_replayed(each_layer: str, path: str, many: bool) -> None:
    client = publisher()
    body = [BODIES[path], BODIES[path]] if many else BODIES[path]
    first, again = (post(client, path, body, "k1") for _ in range(2))
    assert first.json() == again.json()
    assert (first.status_code, again.status_code) == (201, 201)
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    channel = "market-data" if path == "publish" else "predictions"
    assert count(channel) == (2 if many else 1)


def test_an_alert_is_stored_once(redis_layer: None) -> None:
    client = publisher()
    assert post(client, "publish", ALERT, "k").json() == post(client, "publish", ALERT, "k").json()
    assert Alert.objects.count() == 1


@pytest.mark.parametrize("path", BODIES)
def test_an_id_in_the_body_does_the_same(redis_layer: None, path: str) -> None:
    client = publisher()
    items = [{**BODIES[path], "id": "a"}, {**BODIES[path], "id": "b"}]
    first = post(client, path, items).json()
    again = post(client, path, [items[1], items[0]])
    assert again.json() == first[::-1]
    assert again["Idempotency-Replayed"] == "true"


def test_quotes_around_a_key_do_not_count(redis_layer: None) -> None:
    client = publisher()
    post(client, "publish", MARKET, '"k"')
    assert "Idempotency-Replayed" in post(client, "publish", MARKET, "k")


@pytest.mark.parametrize("path", BODIES)
def test_another_body_with_the_same_key_is_refused(each_layer: str, path: str) -> None:
    client = publisher()
    post(client, path, BODIES[path], "k2")
    answer = post(client, path, {**BODIES[path], "symbol": "MSFT"}, "k2")
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": "This Idempotency-Key was used with another body. Use a new one."
    }


def test_the_same_key_at_another_endpoint_is_another_body(redis_layer: None) -> None:
    client = publisher()
    post(client, "publish", MARKET, "k")
    assert post(client, "predictions", PREDICTION, "k").status_code == 422


def test_keys_of_two_credentials_are_apart(redis_layer: None) -> None:
    one, other = publisher(), publisher(name="other")
    for client in (one, other):
        assert "Idempotency-Replayed" not in post(client, "publish", MARKET, "k")
        assert "Idempotency-Replayed" not in post(client, "publish", {**MARKET, "id": "i"})
    assert count() == 4


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\xfc", '"'], ids=ascii)
def test_a_bad_key_is_named(redis_layer: None, key: str) -> None:
    answer = post(publisher(), "publish", MARKET, key)
    assert answer.status_code == 400
    assert list(answer.json()) == ["Idempotency-Key"]


@pytest.mark.parametrize("id", ["", 7, "x" * 256, ["a"]], ids=ascii)
@pytest.mark.parametrize("path", BODIES)
def test_a_bad_id_is_named_with_its_index(redis_layer: None, path: str, id: Any) -> None:
    answer = post(publisher(), path, [BODIES[path], {**BODIES[path], "id": id}])
    assert answer.status_code == 400
    assert list(answer.json()) == ["1.id"]


def test_a_refused_request_does_not_use_its_key(redis_layer: None) -> None:
    client = publisher(publish_per_second=1)
    assert post(client, "publish", {**MARKET, "symbol": "A B"}, "k").status_code == 400
    post(client, "publish", MARKET)
    assert post(client, "publish", MARKET, "k").status_code == 429
    assert post(client, "publish", {**MARKET, "symbol": "A B"}, "k").status_code == 400
    assert post(client, "publish", {**MARKET, "symbol": "MSFT"}, "k").status_code == 429


def test_a_repetition_does_not_count_towards_the_limit(redis_layer: None) -> None:
    client = publisher(publish_per_second=1)
    codes = [post(client, "publish", MARKET, "k").status_code for _ in range(4)]
    assert codes == [201] * 4


def test_what_was_stored_and_not_published_is_completed(redis_layer: None, settings: Any) -> None:
    client, there = publisher(), settings.CHANNEL_LAYERS
    config = {"hosts": [f"redis://127.0.0.1:{free_port()}"]}
    settings.CHANNEL_LAYERS = {"default": {**there["default"], "CONFIG": config}}
    failed = post(client, "predictions", PREDICTION, "k")
    assert failed.status_code == 503
    assert failed.json()["detail"].endswith("Send the same request again to publish them.")
    settings.CHANNEL_LAYERS = there
    answer = post(client, "predictions", PREDICTION, "k")
    assert answer.status_code == 201
    assert StoredPrediction.objects.get().prediction_id == answer.json()["prediction_id"]
    assert count("predictions") == 1


def test_while_the_first_is_under_way_another_one_waits(each_layer: str, monkeypatch: Any) -> None:
    """Not in the database of one thread alone: the first request waits inside of its core."""
    client, inside, go_on = publisher(), threading.Event(), threading.Event()
    record_checked = recording.record_checked

    def slow(checked: Any) -> Any:
        inside.set()
        assert go_on.wait(PATIENCE)
        return record_checked(checked)

    monkeypatch.setattr(recording, "record_checked", slow)
    answers: list[Any] = []

    def first() -> None:
        answers.append(post(client, "predictions", PREDICTION, "k3"))
        connections.close_all()

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(PATIENCE)
    other = APIClient()
    other.credentials(**client._credentials)
    answer = post(other, "predictions", PREDICTION, "k3")
    go_on.set()
    thread.join()
    assert (answer.status_code, answer["Retry-After"]) == (409, "1")
    assert answers[0].status_code == 201
    assert post(client, "predictions", PREDICTION, "k3")["Idempotency-Replayed"] == "true"


def test_a_request_whose_process_was_killed_can_be_repeated(
    redis_layer: None, monkeypatch: Any
) -> None:
    client = publisher()
    monkeypatch.setattr(idempotency, "LEASE_SECONDS", 0)
    monkeypatch.setattr(idempotency, "_end", lambda *args, **kwargs: None)
    post(client, "publish", MARKET, "k")
    assert post(client, "publish", MARKET, "k")["Idempotency-Replayed"] == "true"


def test_what_is_kept_of_a_key_ends(redis_layer: None, valkey: Valkey) -> None:
    post(publisher(), "publish", MARKET, "k")
    redis: Any = valkey.client()
    kept = [*redis.keys("asgi:request:*"), *redis.keys("asgi:once:*")]
    assert len(kept) == 2
    assert all(0 < redis.pttl(key) <= 600_000 for key in kept)
