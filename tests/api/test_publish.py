import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from realtime import broadcast
from realtime.models import ApiKey
from tests import personas
from tests.processes import free_port

# Inside a transaction a broadcast waits for the commit: these tests have none.
pytestmark = pytest.mark.django_db(transaction=True)

MARKET: dict[str, Any] = {"type": "market_data_update", "symbol": "AAPL", "data": {"price": 149.5}}
PREDICTION = {"type": "prediction_update", "symbol": "aapl", "data": {"predicted_price": 150.25}}
ALERT = {"type": "alert", "data": {"message": "Price exceeded $150", "severity": "high"}}


def publisher(**arguments: Any) -> APIClient:
    _, raw = personas.bob_key(scopes=["publish"], **arguments)
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=raw)
    return client


def publish(body: Any, client: APIClient | None = None) -> Any:
    """The answer to a body: an object, a list, or the very text."""
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    client = client or publisher()
    return client.post("/api/v1/publish", text, content_type="application/json")


def test_an_update_is_published_on_each_layer(each_layer: str) -> None:
    client = publisher()
    answer = publish(MARKET, client)
    assert answer.status_code == 201
    body = answer.json()
    assert (body["channel"], body["stream"]) == ("market-data", "AAPL")
    assert publish(MARKET, client).json()["offset"] == body["offset"] + 1
    assert body["epoch"]
    assert body["receivers"] >= 0


def test_an_alert_says_whether_it_was_stored() -> None:
    client = publisher()
    assert publish(ALERT, client).json()["stored"] is True
    assert publish({**ALERT, "user_id": 2**40}, client).json()["stored"] is False
    assert "stored" not in publish(MARKET, client).json()


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        ({"timestamp": 1_732_900_000_000_000}, "timestamp", "is read as microseconds since 1970"),
        ({"timestamp": 1.7329e18}, "timestamp", "is read as nanoseconds since 1970"),
        ({"timestamp": 10**30}, "timestamp", "so this update does not count towards a bar"),
        (
            {"timestamp": "9999-01-01T00:00:00Z"},
            "timestamp",
            "is in the future, so this update does not",
        ),
        (
            {"price": "149.5"},
            "price",
            "'149.5' is not a number, so this update does not count towards a bar",
        ),
        ({"volume": -1}, "volume", "-1 is negative, so this update does not count towards a bar"),
    ],
)
def test_the_answer_says_what_is_wrong_with_what_was_published(
    data: dict[str, Any], field: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    broadcast._warned.clear()
    body = {**MARKET, "data": {**MARKET["data"], "source": "mine", **data}}
    client = publisher()
    for _ in range(2):
        assert reason in publish(body, client).json()["warnings"][field]
    assert caplog.text.count(f"market data of AAPL, source 'mine': {field}: ") == 1


def test_an_update_without_fault_has_no_warnings() -> None:
    client = publisher()
    for stamp in (1_732_900_000, 1_732_900_000_000, "2024-01-01T12:00:00Z"):
        body = {**MARKET, "data": {**MARKET["data"], "timestamp": stamp}}
        assert "warnings" not in publish(body, client).json()
    assert "warnings" not in publish({**MARKET, "data": {"halted": True}}, client).json()


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (PREDICTION, ("predictions", "AAPL")),
        (ALERT, ("alerts", "all")),
        ({**ALERT, "user_id": 7}, ("alerts", "user")),
        ({**ALERT, "user_id": None}, ("alerts", "all")),
        ({**MARKET, "symbol": "BTC/USD"}, ("market-data", "BTC/USD")),
    ],
    ids=str,
)
def test_each_type_goes_to_its_stream(update: dict[str, Any], expected: tuple[str, str]) -> None:
    body = publish(update).json()
    assert (body["channel"], body["stream"]) == expected


def test_a_list_is_published_in_order() -> None:
    answer = publish([MARKET, PREDICTION, MARKET])
    assert answer.status_code == 201
    first, prediction, second = answer.json()
    assert second["offset"] == first["offset"] + 1
    assert prediction["channel"] == "predictions"


@pytest.mark.parametrize(
    ("update", "field"),
    [
        ({**MARKET, "type": "tick"}, "type"),
        ({"symbol": "AAPL", "data": {}}, "type"),
        ({"type": "market_data_update", "data": {}}, "symbol"),
        ({**MARKET, "symbol": "A PL"}, "symbol"),
        ({**MARKET, "symbol": ""}, "symbol"),
        ({**MARKET, "symbol": "A" * 33}, "symbol"),
        ({**MARKET, "symbol": ["AAPL"]}, "symbol"),
        ({**MARKET, "symbol": "*"}, "symbol"),
        ({"type": "market_data_update", "symbol": "AAPL"}, "data"),
        ({**MARKET, "data": [1]}, "data"),
        ({**MARKET, "data": None}, "data"),
        ({**MARKET, "data": {"note": "x" * 70_000}}, "data"),
        ({**MARKET, "data": {"note": "\ud800"}}, "data.note"),
        ({**MARKET, "sybmol": "AAPL"}, "sybmol"),
        ({**MARKET, "user_id": 7}, "user_id"),
        ({**ALERT, "symbol": "AAPL"}, "symbol"),
        ({**ALERT, "user_id": 0}, "user_id"),
        ({**ALERT, "user_id": "alice"}, "user_id"),
        ({**ALERT, "user_id": 10**30}, "user_id"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_bad_data_is_refused_with_the_field(update: dict[str, Any], field: str) -> None:
    answer = publish(update)
    assert answer.status_code == 400
    assert list(answer.json()) == [field]


def test_a_number_beyond_json_is_refused_with_its_path() -> None:
    answer = publish('{"type":"alert","data":{"bids":[{"price":1e999}]}}')
    assert answer.status_code == 400
    assert list(answer.json()) == ["data.bids[0].price"]


def test_a_bad_update_in_a_list_is_named_and_nothing_is_published() -> None:
    client = publisher()
    before = publish(MARKET, client).json()["offset"]
    answer = publish([MARKET, {**MARKET, "symbol": "A PL"}], client)
    assert answer.status_code == 400
    assert list(answer.json()) == ["1.symbol"]
    assert publish(MARKET, client).json()["offset"] == before + 1


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "7",
        "null",
        '"AAPL"',
        "[]",
        "[7]",
        "[[]]",
        b"\xff\xfe",
        "[" * 100_000,
        '{"type":"alert","data":{"a":NaN}}',
        '{"type":"alert","data":' + '{"a":' * 200 + "1" + "}" * 201,
        '{"type":"alert","data":{"a":' + "9" * 5000 + "}}",
        json.dumps([MARKET] * 1001),
    ],
    ids=lambda body: str(body)[:24],
)
def test_a_body_that_is_no_update_is_refused(body: str | bytes) -> None:
    assert publish(body).status_code == 400


def test_a_body_that_is_too_large_is_refused(settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    answer = publish({**MARKET, "data": {"note": "x" * 100}})
    assert answer.status_code == 413
    assert "DATA_UPLOAD_MAX_MEMORY_SIZE" in answer.json()["detail"]


def test_a_form_is_no_json() -> None:
    answer = publisher().post("/api/v1/publish", {"type": "alert"}, format="multipart")
    assert answer.status_code in (400, 415)


@settings_of(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    ).map(json.dumps)
    | st.binary()
)
def test_no_body_is_our_fault(body: str | bytes) -> None:
    assert publish(body, _fuzzing_client()).status_code in (201, 400)


def _fuzzing_client() -> APIClient:
    client = APIClient()
    client.force_authenticate(personas.olga())
    return client


# Who may ----------------------------------------------------------------------------------


def test_without_the_scope_nothing_is_published() -> None:
    alice = APIClient()
    alice.credentials(HTTP_AUTHORIZATION=f"Bearer {personas.token(personas.alice())}")
    reader = APIClient()
    reader.credentials(HTTP_X_API_KEY=personas.bob_key()[1])
    for client in (alice, reader):
        answer = publish(MARKET, client)
        assert answer.status_code == 403
        assert answer.json() == {"detail": "This credential lacks the scope publish."}


def test_mallory_and_nobody_publish_nothing() -> None:
    mallory = APIClient()
    mallory.credentials(HTTP_X_API_KEY=personas.mallory_key(scopes=["publish"])[1])
    assert publish(MARKET, mallory).status_code == 401
    assert publish(MARKET, APIClient()).status_code == 401


def test_staff_publish_with_a_token_or_a_session() -> None:
    olga = personas.olga()
    with_token, with_session = APIClient(), APIClient()
    with_token.credentials(HTTP_AUTHORIZATION=f"Bearer {personas.token(olga)}")
    with_session.force_login(olga)
    for client in (with_token, with_session):
        assert publish(MARKET, client).status_code == 201


def test_a_session_needs_the_csrf_token() -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(personas.olga())
    assert publish(MARKET, client).status_code == 403


@pytest.mark.parametrize(
    ("update", "status"),
    [
        ({**MARKET, "symbol": "BTC-USD"}, 201),
        (MARKET, 403),
        ({**ALERT, "data": {"symbol": "BTC-USD", "message": "up"}}, 201),
        ({**ALERT, "data": {"symbol": "AAPL", "message": "up"}}, 403),
        (ALERT, 403),
        ([{**MARKET, "symbol": "BTC-USD"}, MARKET], 403),
    ],
    ids=str,
)
def test_a_key_publishes_the_symbols_that_it_is_limited_to(update: Any, status: int) -> None:
    client = publisher(symbols={"publish": ["BTC*"]})
    assert publish(update, client).status_code == status


def test_a_list_costs_no_more_queries_than_one_update(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = publisher()
    publish(MARKET, client)
    assert ApiKey.objects.get().last_used_at is not None
    with django_assert_num_queries(0):
        publish([MARKET] * 50, client)


# When Redis is away -----------------------------------------------------------------------


def test_without_redis_the_answer_says_what_to_do(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "realtime.delivery.layers.RedisStreamLayer",
            "CONFIG": {"hosts": [f"redis://127.0.0.1:{free_port()}"]},
        }
    }
    answer = publish(MARKET)
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("not published: ")
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=personas.scraper_key(name="other"))
    assert client.get("/api/v1/connections").status_code == 503
