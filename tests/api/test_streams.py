"""Reading streams over HTTP: what a socket would replay, and where it would go on."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from realtime.broadcast import (
    broadcast_market_data,
    broadcast_prediction_update,
    send_alert,
)
from realtime.predictions.records import record_prediction
from tests import personas
from tests.processes import Valkey

pytestmark = pytest.mark.django_db(transaction=True)  # published after the commit
LAYERS = pytest.mark.usefixtures("each_layer")
STOCK = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


def get(path: str, *, key: str | None = None, **query: Any) -> Any:
    client = APIClient()
    if key is not None:
        client.credentials(HTTP_X_API_KEY=key)
    return client.get(f"/api/v1/{path}", query)


def publish(*prices: float, symbol: str = "AAPL") -> None:
    for price in prices:
        broadcast_market_data(symbol, {"price": price})


def stream(symbol: str = "AAPL", **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = get(f"streams/market-data/{symbol}", **query).json()
    return found


def prices(body: dict[str, Any]) -> list[float]:
    return [update["data"]["price"] for update in body["updates"]]


@LAYERS
def test_a_stream_is_read_page_by_page_without_a_hole() -> None:
    publish(0)
    place = stream()["next"]
    publish(*range(1, 6))
    first = stream(since=place, limit=3)
    second = stream(since=first["next"], limit=3)
    assert (prices(first), first["more"]) == ([1, 2, 3], True)
    assert (prices(second), second["more"]) == ([4, 5], False)
    assert stream(since=second["next"])["updates"] == []


@LAYERS
def test_without_a_position_the_newest_updates_come_oldest_first() -> None:
    publish(1, 2, 3)
    body = stream(limit=2)
    assert prices(body) == [2, 3]
    assert (body["offset"], body["next"], body["gap"]) == (3, f"{body['epoch']}:3", None)


@LAYERS
def test_updates_are_those_of_a_socket() -> None:
    publish(1)
    (update,) = stream()["updates"]
    assert update.pop("timestamp")
    assert update == {
        "type": "market_data_update", "symbol": "AAPL", "data": {"price": 1}, "offset": 1
    }  # fmt: skip


@LAYERS
def test_the_position_of_a_stream_without_updates_is_good_for_its_first_one() -> None:
    place = stream("NEW")["next"]
    publish(1, symbol="NEW")
    body = stream("NEW", since=place)
    assert (prices(body), body["gap"]) == ([1], None)


@LAYERS
def test_updates_that_are_not_held_any_more_are_a_gap(settings: Any) -> None:
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 2}
    publish(1)
    place = stream()["next"]
    publish(2, 3, 4, 5)
    body = stream(since=place)
    assert prices(body) == [4, 5]
    gap = body["gap"]
    assert (gap["type"], gap["from_offset"], gap["to_offset"]) == ("gap", 2, 3)
    assert gap["epoch"] == body["epoch"]


@LAYERS
@pytest.mark.parametrize("place", ["another:7", "{epoch}:99"])
def test_a_position_that_nobody_can_have_is_a_gap_of_nothing(place: str) -> None:
    publish(1)
    epoch = stream()["epoch"]
    body = stream(since=place.format(epoch=epoch))
    assert body["gap"]["to_offset"] < body["gap"]["from_offset"]
    assert body["next"] == f"{epoch}:1"


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("streams/market-data/AAPL", {"since": "17"}, "since"),
        ("streams/market-data/AAPL", {"since": "x" * 65 + ":1"}, "since"),
        ("streams/market-data/AAPL", {"since": "e:-1"}, "since"),
        ("streams/market-data/AAPL", {"limit": "0"}, "limit"),
        ("streams/market-data/AAPL", {"limit": "1001"}, "limit"),
        ("streams/market-data/AAPL", {"sinse": "e:1"}, "sinse"),
        ("streams/market-data/A B", {}, "symbol"),
        ("market-data/latest", {}, "symbol"),
        ("market-data/latest", {"symbol": "A B"}, "symbol"),
        ("market-data/latest", {"symbol": ",".join(["A"] * 201)}, "symbol"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(path: str, query: dict[str, str], field: str) -> None:
    answer = get(path, **query)
    assert answer.status_code == 400
    assert field in answer.json()


def test_a_channel_that_does_not_exist_is_told_with_those_that_do() -> None:
    answer = get("streams/prices/AAPL")
    assert answer.status_code == 404
    assert "market-data" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["streams/market-data/FB", "market-data/latest?symbol=AAPL,FB"])
def test_a_key_reads_its_own_symbols_only(path: str) -> None:
    _, key = personas.bob_key(symbols={"market-data": ["AAPL"]})
    answer = get(path, key=key)
    assert answer.status_code == 403
    assert "FB" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["streams/market-data/AAPL", "market-data/latest?symbol=AAPL"])
def test_a_key_without_the_scope_reads_nothing(path: str) -> None:
    _, key = personas.bob_key(scopes=["alerts"])
    assert get(path, key=key).status_code == 403


@pytest.mark.parametrize("path", ["streams/market-data/AAPL", "market-data/latest?symbol=AAPL"])
def test_anonymous_clients_read_where_they_may_connect(path: str, settings: Any) -> None:
    assert get(path).status_code == 200
    settings.REALTIME_ALLOW_ANONYMOUS = False
    assert get(path).status_code == 401


@LAYERS
def test_alerts_of_a_user_are_read_by_that_user_alone() -> None:
    key, raw = personas.bob_key()
    send_alert({"message": "for Bob"}, user_id=key.owner_id)
    send_alert({"message": "for all"})
    texts = {}
    for name in ("user", "all"):
        updates = get(f"streams/alerts/{name}", key=raw).json()["updates"]
        texts[name] = [update["data"]["message"] for update in updates]
    assert texts == {"user": ["for Bob"], "all": ["for all"]}
    assert get("streams/alerts/user").status_code == 403


@LAYERS
def test_the_latest_market_data_have_the_position_to_go_on_from() -> None:
    publish(1, 2)
    first, second = get("market-data/latest", symbol="aapl,NEW").json()["market_data"]
    assert (first["symbol"], first["data"], first["offset"]) == ("AAPL", {"price": 2}, 2)
    assert (second["symbol"], second["data"], second["offset"]) == ("NEW", None, 0)
    publish(3)
    body = stream(since=f"{first['epoch']}:{first['offset']}")
    assert (prices(body), body["gap"]) == ([3], None)


@LAYERS
def test_the_latest_predictions_have_the_position_to_go_on_from() -> None:
    record_prediction("AAPL", {"predicted_price": 150.0, "confidence": 0.9})
    (row,) = get("predictions/latest").json()["predictions"]
    assert (row["symbol"], row["offset"]) == ("AAPL", 1)
    broadcast_prediction_update("AAPL", {"predicted_price": 151.0})
    since = f"{row['epoch']}:{row['offset']}"
    (update,) = get("streams/predictions/AAPL", since=since).json()["updates"]
    assert update["data"]["predicted_price"] == 151.0


def test_while_redis_is_away_predictions_are_read_and_streams_are_not(settings: Any) -> None:
    record_prediction("AAPL", {"predicted_price": 150.0, "confidence": 0.9})
    backend = "realtime.delivery.layers.RedisStreamLayer"
    config = {"hosts": ["redis://127.0.0.1:1"]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    (row,) = get("predictions/latest").json()["predictions"]
    assert (row["epoch"], row["offset"]) == (None, None)
    assert get("streams/market-data/AAPL").status_code == 503
    assert get("streams").status_code == 503
    assert get("market-data/latest", symbol="AAPL").status_code == 503


def test_a_channel_layer_without_a_history_says_so(settings: Any) -> None:
    settings.CHANNEL_LAYERS = STOCK
    answer = get("streams/market-data/AAPL")
    assert answer.status_code == 501
    assert "CHANNEL_LAYERS" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "streams",
        "streams/market-data/A",
        "market-data/latest?symbol=A",
        "predictions/latest?symbol=A",
    ],
)
@pytest.mark.usefixtures("redis_layer")
def test_reads_are_as_fast_as_the_messages_of_a_socket(path: str, settings: Any) -> None:
    get("no/such/page")  # loads the URLs, which may take longer than the next read has to wait
    settings.REALTIME_MESSAGES_PER_SECOND = 0.5
    first, second = get(path), get(path)
    assert (first.status_code, second.status_code) == (200, 429)
    assert 1 <= int(second["Retry-After"]) <= 2


@pytest.mark.usefixtures("redis_layer")
def test_encrypted_histories_are_read(settings: Any, valkey: Valkey) -> None:
    backend = "realtime.delivery.layers.RedisStreamLayer"
    config = {"hosts": [valkey.url], "symmetric_encryption_keys": ["secret"]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
    publish(1, symbol="SECRET")
    assert prices(stream("SECRET")) == [1]


def listed(**query: Any) -> list[str]:
    return [
        f"{each['channel']} {each['symbol']}" for each in get("streams", **query).json()["streams"]
    ]


@LAYERS
def test_streams_that_have_had_an_update_are_listed() -> None:
    publish(1, symbol="BTC/USD")
    publish(1, 2, symbol="AAPL")
    broadcast_prediction_update("AAPL", {"predicted_price": 151.0})
    assert stream("NEW")["updates"] == []
    assert listed() == [
        "alerts all", "market-data AAPL", "market-data BTC/USD", "predictions AAPL",
    ]  # fmt: skip
    assert listed(channel="market-data", search="/us") == ["market-data BTC/USD"]


@LAYERS
def test_streams_are_listed_page_by_page() -> None:
    for symbol in ("C", "A", "B/D", "B"):
        publish(1, symbol=symbol)
    found, after = [], {}
    while True:
        body = get("streams", channel="market-data", limit=3, **after).json()
        found.append([each["symbol"] for each in body["streams"]])
        if body["next"] is None:
            break
        after = {"after": body["next"]}
    assert found == [["A", "B", "B/D"], ["C"]]


def test_a_key_lists_its_own_symbols_only() -> None:
    publish(1, symbol="AAPL")
    publish(1, symbol="FB")
    _, key = personas.bob_key(scopes=["market-data"], symbols={"market-data": ["AAPL"]})
    assert listed(key=key) == ["market-data AAPL"]
    answer = get("streams", key=key, channel="predictions")
    assert (answer.status_code, "predictions" in answer.json()["detail"]) == (403, True)


def test_a_user_lists_the_streams_of_alerts() -> None:
    _, key = personas.bob_key()
    assert listed(key=key, channel="alerts") == ["alerts all", "alerts user"]


def test_anonymous_clients_list_nothing_where_they_may_not_connect(settings: Any) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = False
    assert get("streams").status_code == 401


@pytest.mark.parametrize(
    ("field", "value"), [("channel", "prices"), ("after", "AAPL"), ("limit", 0), ("serach", "A")]
)
def test_a_wrong_parameter_of_the_list_is_named(field: str, value: object) -> None:
    answer = get("streams", **{field: value})
    assert (answer.status_code, list(answer.json())) == (400, [field])
