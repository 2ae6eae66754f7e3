"""A user who may read BTC* only, at every place where something can be read.

The rows of `REST` and `ACTIONS` are the contract, for a token, a key and a session of this user.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import Settings

from realtime.access.authentication import forget
from realtime.access.revocation import user_changed
from realtime.broadcast import abroadcast_market_data
from realtime.models import AlertRule, ApiKey, PredictionScore, StoredPrediction, WebhookEndpoint
from realtime.webhooks.events import emit
from tests import personas
from tests.access import rules
from tests.alerts.test_engine import ABOVE, add_rule, engine, until_followed, until_messages
from tests.clients import InProcess, Open
from tests.consumers.conftest import connect, open_socket, people

__all__ = ["add_rule", "connect", "open_socket", "people"]

pytestmark = pytest.mark.django_db(transaction=True)
START = datetime(2024, 1, 2, tzinfo=UTC)
KINDS = pytest.mark.parametrize("kind", ["jwt", "key", "session"])


@pytest.fixture(autouse=True)
def _by_last_name(settings: Settings) -> None:
    settings.REALTIME_USER_ACCESS = "tests.access.rules.by_last_name"
    forget()


def narrow(user: User, patterns: str = "BTC*") -> User:
    user.last_name = patterns
    user.save()
    return user


@sync_to_async
def anarrow(user: User, patterns: str) -> None:
    narrow(user, patterns)


@pytest.fixture
def alice(people: SimpleNamespace) -> User:
    return narrow(people.alice)


def browser(alice: User, kind: str) -> Client:
    if kind == "jwt":
        return Client(headers={"Authorization": f"Bearer {personas.token(alice)}"})
    if kind == "key":
        alice.user_permissions.add(Permission.objects.get(codename="publish"))
        scopes = (*personas.READ, "publish")
        raw = ApiKey.objects.create_key(alice, "mine", scopes=scopes)[1]
        return Client(headers={"X-API-Key": raw})
    client = Client()
    client.force_login(alice)
    return client


# REST -----------------------------------------------------------------------------------------


def store(symbol: str) -> int:
    PredictionScore.objects.create(symbol=symbol, model="", outcomes=1)
    row = StoredPrediction.objects.create(
        symbol=symbol, predicted_price=1, as_of=START, valid_until=START, created_at=START
    )
    return row.pk


@KINDS
@pytest.mark.parametrize("path", ["predictions", "predictions/latest", "predictions/scores"])
def test_lists_leave_out_what_a_user_may_not_read(alice: User, path: str, kind: str) -> None:
    for symbol in ("AAPL", "BTC-USD"):
        store(symbol)
    client = browser(alice, kind)
    body = client.get(f"/api/v1/{path}").json()
    (rows,) = (each for each in body.values() if isinstance(each, list))
    assert [row["symbol"] for row in rows] == ["BTC-USD"]
    assert client.get(f"/api/v1/{path}?symbol=AAPL").status_code == 403
    assert client.get(f"/api/v1/{path}?symbol=BTC-USD").status_code == 200


@KINDS
def test_a_prediction_that_a_user_may_not_read_is_not_there(alice: User, kind: str) -> None:
    mine, other = store("BTC-USD"), store("AAPL")
    client = browser(alice, kind)
    assert client.get(f"/api/v1/predictions/{mine}").status_code == 200
    assert client.get(f"/api/v1/predictions/{other}").status_code == 404


@KINDS
def test_bars_are_for_users_who_may_read_the_symbol(alice: User, kind: str) -> None:
    client = browser(alice, kind)
    assert client.get("/api/v1/market-data/AAPL/bars").status_code == 403
    assert client.get("/api/v1/market-data/BTC-USD/bars").status_code == 200


@KINDS
@pytest.mark.parametrize("path", ["alert-rules", "alert-rules/dry-run", "alert-rules/preview"])
@pytest.mark.parametrize("symbols", [["AAPL"], ["BTC-USD", "AAPL"], ["*"]])
def test_users_have_rules_on_symbols_that_they_may_read(
    each_layer: str, alice: User, path: str, symbols: list[str], kind: str
) -> None:
    client = browser(alice, kind)
    rule = {"symbols": symbols, "conditions": [ABOVE]}
    answer = client.post(f"/api/v1/{path}", rule, "application/json")
    assert (answer.status_code, list(answer.json())) == (400, [f"symbols[{len(symbols) - 1}]"])
    allowed = {**rule, "symbols": ["BTC-USD"]}
    answer = client.post(f"/api/v1/{path}", allowed, "application/json")
    assert answer.status_code in (200, 201)


def test_a_user_publishes_for_the_symbols_of_the_rule(each_layer: str, alice: User) -> None:
    client = browser(alice, "key")
    for symbol, status in (("AAPL", 403), ("BTC-USD", 201)):
        update = {"type": "market_data_update", "symbol": symbol, "data": {"price": 1}}
        answer = client.post("/api/v1/publish", update, "application/json")
        assert answer.status_code == status


def test_the_rule_is_asked_once_for_a_request_with_a_session(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = Mock(side_effect=rules.by_last_name)
    monkeypatch.setattr(rules, "by_last_name", rule)
    assert browser(alice, "session").get("/api/v1/predictions").status_code == 200
    assert rule.call_count == 1


# Sockets --------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("channel", ["market-data", "predictions"])
@pytest.mark.parametrize("query", ["", "epoch=x&offset=1&"])
async def test_a_path_with_a_symbol_is_for_users_who_may_read_it(
    each_layer: str, open_socket: Open, alice: User, channel: str, kind: str, query: str
) -> None:
    secret = await secret_of(alice, kind)
    client = await open_socket(f"/ws/{channel}/AAPL?{query}{secret}")
    assert await client.closed() == 4403
    assert [each["code"] for each in client.seen] == ["forbidden"]


ACTIONS: dict[str, dict[str, Any]] = {
    "one": {"type": "subscribe", "symbols": ["AAPL"]},
    "in place of another": {"type": "subscribe", "symbol": "AAPL"},
    "beside an allowed one": {"type": "subscribe", "symbols": ["BTC-USD", "AAPL"]},
    "every symbol": {"type": "subscribe", "symbols": ["*"]},
    "resumed": {
        "type": "subscribe", "symbols": ["AAPL"], "since": {"AAPL": {"epoch": "x", "offset": 1}},
    },
    "every symbol resumed": {
        "type": "subscribe", "symbols": ["*"], "since": {"AAPL": {"epoch": "x", "offset": 1}},
    },
    "a prediction": {"type": "request_prediction", "symbol": "AAPL"},
}  # fmt: skip


@KINDS
@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_beyond_the_access_of_a_user_changes_nothing(
    each_layer: str, connect: Open, alice: User, action: str, kind: str
) -> None:
    client = await connect(f"/ws/predictions/BTC-USD?{await secret_of(alice, kind)}")
    message = dict(ACTIONS[action])
    answer = await client.ask(str(message.pop("type")), **message)
    assert (answer["type"], answer["code"]) == ("error", "forbidden")
    assert (await client.ask("status"))["symbols"] == ["BTC-USD"]


@database_sync_to_async
def secret_of(alice: User, kind: str) -> str:
    """What Alice adds to a URL; for a session the ticket that it obtains."""
    client = browser(alice, kind)
    answer = client.post("/api/v1/auth/ticket")
    return f"ticket={answer.json()['ticket']}"


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_socket_has_no_rule_beyond_the_access_of_its_user(
    each_layer: str, connect: Open, alice: User, dry_run: bool
) -> None:
    client = await connect(f"/ws/alerts?token={personas.token(alice)}")
    rule = {"symbols": ["AAPL"], "conditions": [ABOVE]}
    answer = await client.ask("configure_alerts", config={"rules": [rule], "dry_run": dry_run})
    assert answer["details"] == {"field": "config.rules[0].symbols[0]"}


# While they are open ----------------------------------------------------------------------------


async def opened(connect: Open, alice: User, *symbols: str) -> InProcess:
    client = await connect(f"/ws/market-data?token={personas.token(alice)}")
    await client.ask("subscribe", symbols=list(symbols))
    return client


async def test_subscriptions_that_are_no_longer_allowed_end(
    each_layer: str, connect: Open, alice: User
) -> None:
    await anarrow(alice, "")
    client = await opened(connect, alice, "AAPL", "BTC-USD")
    await anarrow(alice, "BTC*")
    error = await client.until("error")
    assert (error["code"], error["details"]) == ("forbidden", {"symbols": {"AAPL": "forbidden"}})
    await abroadcast_market_data("AAPL", {"price": 1})
    await abroadcast_market_data("BTC-USD", {"price": 2})
    assert (await client.until("market_data_update"))["symbol"] == "BTC-USD"


async def test_a_subscription_to_every_symbol_ends(
    each_layer: str, connect: Open, alice: User
) -> None:
    await anarrow(alice, "")
    client = await opened(connect, alice, "*")
    await anarrow(alice, "BTC*")
    assert (await client.until("error"))["details"] == {"symbols": {"*": "forbidden"}}
    assert (await client.ask("status"))["streams"] == {}


async def test_access_that_grows_is_there_at_once(
    each_layer: str, connect: Open, alice: User
) -> None:
    client = await opened(connect, alice, "BTC-USD")
    assert (await client.ask("subscribe", symbols=["AAPL"]))["code"] == "forbidden"
    await anarrow(alice, "BTC* AAPL")
    answer = await client.ask("subscribe", symbols=["AAPL"])
    while answer["type"] == "error":  # the change is on its way
        answer = await client.ask("subscribe", symbols=["AAPL"])
    assert answer["symbols"] == ["BTC-USD", "AAPL"]


async def test_user_changed_asks_the_rule_again(
    each_layer: str, open_socket: Open, people: SimpleNamespace, settings: Settings
) -> None:
    client = await open_socket(f"/ws/market-data/AAPL?token={people.token}")
    await client.until("connected")
    settings.REALTIME_USER_ACCESS = "tests.access.rules.nothing"
    await sync_to_async(user_changed)(people.alice.pk)
    assert await client.closed() == 4403


async def test_a_rule_that_fails_closes_the_sockets_of_its_user_only(
    each_layer: str, connect: Open, alice: User, settings: Settings
) -> None:
    mine = await opened(connect, alice, "BTC-USD")
    carol = await sync_to_async(personas.carol)()
    other = await opened(connect, carol, "BTC-USD")
    settings.REALTIME_USER_ACCESS = "tests.access.rules.broken_for_alice"
    for user in (alice, carol):
        await sync_to_async(user_changed)(user.pk)
    assert await mine.closed() == 4500
    assert (mine.seen[-1]["code"], mine.seen[-1]["retry"]) == ("internal_error", True)
    assert (await other.ask("status"))["symbols"] == ["BTC-USD"]


async def test_a_newcomer_is_closed_while_the_rule_fails(
    each_layer: str, open_socket: Open, alice: User, settings: Settings
) -> None:
    settings.REALTIME_USER_ACCESS = "tests.access.rules.broken"
    client = await open_socket(f"/ws/market-data/BTC-USD?token={personas.token(alice)}")
    assert await client.closed() == 4500
    assert [each["code"] for each in client.seen] == ["internal_error"]
    anonymous = await open_socket("/ws/market-data/BTC-USD")
    assert (await anonymous.next())["type"] == "connected"


async def test_auth_is_closed_while_the_rule_fails(
    each_layer: str, connect: Open, alice: User, settings: Settings
) -> None:
    settings.REALTIME_USER_ACCESS = "tests.access.rules.broken"
    client = await connect("/ws/market-data/BTC-USD")
    await client.send("auth", token=personas.token(alice))
    assert await client.closed() == 4500


# Alerts and webhooks ----------------------------------------------------------------------------


@pytest.mark.parametrize("withdraw", ["MSFT", "broken"])
async def test_a_rule_on_a_symbol_that_its_owner_may_not_read_any_more_is_quiet(
    each_layer: str,
    add_rule: Callable[..., AlertRule],
    people: SimpleNamespace,
    settings: Settings,
    withdraw: str,
) -> None:
    carol = await sync_to_async(personas.carol)()
    for owner in (people.alice, carol):
        await sync_to_async(add_rule)(owner=owner, message=f"{owner.username} {{price}}")
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("alice 151", "carol 151")
        if withdraw == "broken":
            settings.REALTIME_USER_ACCESS = "tests.access.rules.broken_for_alice"
            await sync_to_async(user_changed)(people.alice.pk)
        await anarrow(people.alice, withdraw)
        for price in (149, 152):
            await abroadcast_market_data("AAPL", {"price": price})
        await until_messages("alice 151", "carol 151", "carol 152")


EVENTS = pytest.mark.parametrize(
    ("event", "data"),
    [
        ("prediction_complete", {}),
        ("prediction_outcome", {}),
        ("stream_stale", {"channel": "market-data"}),
        ("stream_stale", {"channel": "predictions"}),
    ],
)


@EVENTS
def test_webhooks_have_events_of_symbols_that_their_owners_may_read(
    alice: User, event: str, data: dict[str, Any]
) -> None:
    for owner in (alice, personas.carol()):
        WebhookEndpoint.objects.create_endpoint(owner, "https://example.com/hook")
    for symbol, owners in (("BTC-USD", ["alice", "carol"]), ("AAPL", ["carol"])):
        rows = emit(event, data, symbol=symbol)
        assert sorted(row.endpoint.owner.get_username() for row in rows) == owners


def test_a_webhook_whose_owners_rule_fails_has_nothing(alice: User, settings: Settings) -> None:
    for owner in (alice, personas.carol()):
        WebhookEndpoint.objects.create_endpoint(owner, "https://example.com/hook")
    settings.REALTIME_USER_ACCESS = "tests.access.rules.broken_for_alice"
    (row,) = emit("prediction_complete", {}, symbol="BTC-USD")
    assert row.endpoint.owner.get_username() == "carol"


def test_a_webhook_has_the_alerts_of_users_who_may_read_alerts(
    alice: User, settings: Settings
) -> None:
    WebhookEndpoint.objects.create_endpoint(alice, "https://example.com/hook")
    assert emit("alert_triggered", {}, symbol="AAPL", user_id=alice.pk)
    settings.REALTIME_USER_ACCESS = "tests.access.rules.nothing"
    forget()
    assert not emit("alert_triggered", {}, symbol="AAPL", user_id=alice.pk)
