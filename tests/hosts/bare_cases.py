"""Run in a project with tests.hosts.bare, by tests/test_hosts.py."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import Client

import realtime.asgi
from realtime.broadcast import broadcast_market_data, send_alert
from realtime.models import Alert, ApiKey
from realtime.streams import user_alerts

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery staple"


@pytest.fixture
def customer() -> Any:
    model: Any = get_user_model()
    return model.objects.create_user("ÄB 7/x", PASSWORD)


@pytest.fixture
def client(client: Client, customer: Any) -> Client:
    login = {"email": customer.email, "password": PASSWORD}
    answer = post(client, "auth/token", login)
    assert answer.status_code == 200, answer.content
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {answer.json()['access']}"
    client.defaults["refresh"] = answer.json()["refresh"]
    return client


def post(client: Client, path: str, data: object) -> Any:
    return client.post(f"/api/v1/{path}", json.dumps(data), content_type="application/json")


def test_a_customer_may_be_saved_and_deleted(customer: Any) -> None:
    customer.save()
    customer.set_password("another one of these")
    customer.save()
    customer.delete()


def test_a_login_is_refreshed(client: Client) -> None:
    refresh = {"refresh": client.defaults["refresh"]}
    tokens = post(client, "auth/token/refresh", refresh)
    assert tokens.status_code == 200, tokens.content
    assert post(client, "auth/token/verify", {"token": tokens.json()["access"]}).status_code == 200


def test_without_the_blacklist_nobody_is_told_that_a_login_has_ended(client: Client) -> None:
    answers = [
        post(client, "auth/token/blacklist", {"refresh": client.defaults["refresh"]}),
        post(client, "auth/logout-everywhere", {}),
    ]
    assert [answer.status_code for answer in answers] == [501, 501]
    assert "realtime.W020" in {found.id for found in run_checks()}


def test_the_page_does_without_the_admin(client: Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "/admin/" not in page.content.decode()
    assert client.get("/api/v1/docs").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["keys", "alerts", "alert-rules", "webhooks", "predictions/latest?symbol=A", "predictions"],
)
def test_lists_are_given(client: Client, path: str) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.content


def test_keys_are_made_and_refused(client: Client, customer: Any) -> None:
    made = post(client, "keys", {"name": "one", "expires_at": "2099-01-02T03:04:05Z"})
    assert made.status_code == 201, made.content
    assert datetime.fromisoformat(made.json()["expires_at"]) == datetime(
        2099, 1, 2, 3, 4, 5, tzinfo=UTC
    )
    key = {"HTTP_AUTHORIZATION": f"Bearer {made.json()['key']}"}
    assert client.get("/api/v1/alerts", **key).status_code == 200
    call_command("create_api_key", customer.email, "two", stdout=io.StringIO())
    assert ApiKey.objects.filter(owner=customer).count() == 2
    call_command("list_api_keys", stdout=io.StringIO())


def test_webhooks_are_made(client: Client) -> None:
    made = post(client, "webhooks", {"url": "https://example.com/hook"})
    assert made.status_code == 201, made.content
    send_alert({"message": "hello"})
    assert client.get(f"/api/v1/webhooks/{made.json()['id']}/deliveries").json()["results"]


def test_an_alert_is_stored_for_its_customer(client: Client, customer: Any) -> None:
    assert send_alert({"message": "yours"}, user_id=customer.pk).stored
    assert Alert.objects.get().owner == customer
    found = client.get("/api/v1/alerts").json()["results"]
    assert [alert["data"]["message"] for alert in found] == ["yours"]
    assert len(user_alerts(customer.pk).group) < 100


def test_a_rule_is_tried_and_made(client: Client) -> None:
    rule = {"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}]}
    assert post(client, "alert-rules", rule).status_code == 201
    tried = post(client, "alert-rules/dry-run", rule)
    assert tried.status_code == 200, tried.content


def test_prices_are_published_and_read(client: Client) -> None:
    broadcast_market_data("AAPL", {"price": 1})
    assert client.get("/api/v1/market-data/AAPL/bars").status_code == 200
    call_command("prune_history", stdout=io.StringIO())


async def test_without_a_channel_layer_a_socket_is_told(settings: Any, caplog: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    application = realtime.asgi.application(get_asgi_application())
    socket = WebsocketCommunicator(application, "/ws/alerts")
    await socket.connect()
    assert "no channel layer" in (await socket.receive_json_from())["message"]
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_ticket_opens_a_socket(client: Client, customer: Any) -> None:
    ticket = (await sync_to_async(post)(client, "auth/ticket", {})).json()["ticket"]
    application = realtime.asgi.application(get_asgi_application())
    socket = WebsocketCommunicator(application, f"/ws/alerts?ticket={ticket}")
    await socket.connect()
    assert (await socket.receive_json_from())["authenticated"] is True
    await sync_to_async(send_alert)({"message": "yours"}, user_id=customer.pk)
    while (message := await socket.receive_json_from())["type"] != "alert":
        pass
    assert message["data"]["message"] == "yours"
    await socket.disconnect()
