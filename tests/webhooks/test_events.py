import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from realtime.broadcast import InvalidUpdate
from realtime.models import WebhookDelivery, WebhookEndpoint
from realtime.webhooks.events import emit, emit_to
from tests import personas

pytestmark = pytest.mark.django_db
DATA = {"symbol": "AAPL", "price": 149.5}


@pytest.fixture
def alice() -> User:
    return personas.alice()


def endpoint(owner: User, **fields: Any) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create_endpoint(owner, "https://example.com/hook", **fields)[0]


def delivered() -> list[WebhookDelivery]:
    return list(WebhookDelivery.objects.order_by("pk"))


def test_an_event_becomes_the_payload_that_standard_webhooks_has(alice: User) -> None:
    endpoint(alice)
    emit("alert_triggered", {**DATA, "at": Decimal("1.10")}, symbol="aapl")
    (row,) = delivered()
    payload = json.loads(row.body)
    assert list(payload) == ["type", "timestamp", "data"]
    assert payload["type"] == "alert_triggered"
    assert payload["data"] == {**DATA, "at": 1.1}
    assert datetime.fromisoformat(payload["timestamp"]).tzinfo is not None
    assert (row.symbol, row.status, row.tries) == ("AAPL", "pending", 0)


def test_one_event_has_one_id_at_all_endpoints(alice: User) -> None:
    first, second = endpoint(alice), endpoint(personas.olga())
    emit("test", {}, symbol=None)
    emit("test", {}, symbol=None)
    ids = [[row.webhook_id for row in each.deliveries.order_by("pk")] for each in (first, second)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_an_endpoint_gets_the_events_and_symbols_that_it_names(alice: User) -> None:
    endpoint(alice, events=["stream_stale"], symbols=["BTC*"])
    emit("stream_stale", {}, symbol="AAPL")
    emit("prediction_complete", {}, symbol="BTC-USD")
    assert delivered() == []
    emit("stream_stale", {}, symbol="BTC-USD")
    emit("stream_stale", {}, symbol=None)
    assert [row.symbol for row in delivered()] == ["BTC-USD", ""]


def test_what_is_for_one_user_reaches_no_other(alice: User) -> None:
    endpoint(personas.olga())
    mine = endpoint(alice)
    emit("alert_triggered", DATA, symbol="AAPL", user_id=alice.pk)
    assert [row.endpoint_id for row in delivered()] == [mine.pk]


def test_a_disabled_endpoint_and_a_deactivated_owner_get_nothing(alice: User) -> None:
    endpoint(alice, enabled=False)
    endpoint(personas.olga(is_active=False))
    emit("test", {}, symbol=None)
    assert delivered() == []


def test_what_rolls_back_is_not_sent(alice: User) -> None:
    endpoint(alice)
    with transaction.atomic():
        emit("test", {}, symbol=None)
        transaction.set_rollback(True)
    assert delivered() == []


def test_without_an_endpoint_an_event_costs_one_query(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        emit("prediction_complete", DATA, symbol="AAPL")


def test_many_endpoints_cost_two_queries(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(10):
        endpoint(alice)
    with django_assert_num_queries(2):
        emit("prediction_complete", DATA, symbol="AAPL", user_id=alice.pk)
    assert len(delivered()) == 10


def test_one_named_endpoint_gets_what_it_did_not_ask_for(alice: User) -> None:
    named = endpoint(alice, events=["stream_stale"], symbols=["BTC*"])
    endpoint(alice)
    row = emit_to(named.pk, "alert_triggered", DATA, symbol="AAPL")
    assert delivered() == [row]
    assert row is not None
    assert row.endpoint_id == named.pk


def test_a_named_endpoint_that_is_disabled_gets_nothing(alice: User) -> None:
    named = endpoint(alice, enabled=False)
    assert emit_to(named.pk, "alert_triggered", DATA, symbol="AAPL") is None
    assert delivered() == []


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"event": "price"}, "event"),
        ({"symbol": "not a symbol"}, "symbol"),
        ({"data": [1]}, "data"),
        ({"data": {"bids": [{"price": float("nan")}]}}, "data.bids[0].price"),
        ({"data": {"at": object()}}, "data.at"),
        ({"data": {1: 2}}, "data"),
        ({"data": {"text": "x" * 70_000}}, "data"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_sent_is_refused_with_the_field(
    alice: User, arguments: dict[str, Any], field: str
) -> None:
    endpoint(alice)
    with pytest.raises(InvalidUpdate) as caught:
        emit(**{"event": "test", "data": {}, "symbol": None, **arguments})
    assert caught.value.field == field
    assert delivered() == []
