"""Rules read what their credential may read: when they are made, and when they fire."""

import json
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.test import Client
from django.utils import timezone

from realtime.alerts.evaluator import TimedUpdate
from realtime.alerts.firing import alert_data
from realtime.broadcast import abroadcast_market_data, abroadcast_prediction_update
from realtime.models import AlertRule, ApiKey
from tests import personas
from tests.alerts.test_engine import ABOVE, add_rule, engine, until_followed, until_messages
from tests.alerts.test_evaluator import BEGIN, machine
from tests.clients import Open

__all__ = ["add_rule"]

pytestmark = pytest.mark.django_db(transaction=True)
RULES = "/api/v1/alert-rules"
SURE = {"type": "confidence_above", "value": 0.5}
RETURN = {"type": "predicted_return_above", "value": 1}


def ask(raw: str, rule: Any, path: str = RULES, method: str = "POST") -> Any:
    headers = {"X-API-Key": raw}
    return Client().generic(method, path, json.dumps(rule), "application/json", headers=headers)


def rule_on(*conditions: Any, symbols: Any = ("AAPL",)) -> dict[str, Any]:
    return {"symbols": list(symbols), "conditions": list(conditions)}


@pytest.mark.parametrize("path", [RULES, f"{RULES}/dry-run", f"{RULES}/preview"])
@pytest.mark.parametrize(
    ("scopes", "conditions", "field"),
    [
        (["alerts"], [ABOVE], "conditions"),
        (["alerts"], [RETURN], "conditions"),
        (["alerts", "predictions"], [ABOVE], "conditions"),
        (["alerts", "market-data"], [SURE], "conditions"),
        (["alerts", "market-data"], [{"any": [ABOVE, SURE]}], "conditions"),
        (["alerts", "market-data"], [ABOVE], None),
        (["alerts", "predictions"], [RETURN], None),
    ],
)
def test_a_key_has_rules_on_the_channels_that_it_reads(
    path: str, scopes: list[str], conditions: list[Any], field: str | None
) -> None:
    answer = ask(personas.bob_key(scopes=scopes)[1], rule_on(*conditions), path)
    assert answer.status_code == (400 if field else 201 if path == RULES else 200)
    assert field is None or list(answer.json()) == [field]


def test_a_key_does_not_change_a_rule_beyond_what_it_reads() -> None:
    key, raw = personas.bob_key(scopes=["alerts", "market-data"], symbols={"market-data": ["A*"]})
    made = ask(raw, rule_on(ABOVE)).json()
    for change in ({"symbols": ["MSFT"]}, {"symbols": ["*"]}, {"conditions": [SURE]}):
        assert ask(raw, change, f"{RULES}/{made['id']}", "PATCH").status_code == 400
    assert AlertRule.objects.get().key_id == key.pk


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_socket_has_rules_on_the_channels_that_it_reads(
    each_layer: str, connect: Open, people: SimpleNamespace, dry_run: bool
) -> None:
    people.key_row.scopes = ["alerts"]
    await people.key_row.asave()
    client = await connect(f"/ws/alerts?token={people.key}")
    config = {"rules": [rule_on(ABOVE)], "dry_run": dry_run}
    answer = await client.ask("configure_alerts", config=config)
    assert answer["details"] == {"field": "config.rules[0].conditions"}


def test_an_alert_tells_the_numbers_of_its_channels_alone() -> None:
    symbol = machine({"conditions": [ABOVE], "message": "{price} {confidence}"})
    prediction = {"predicted_price": 160, "confidence": 0.9, "last_price": 150}
    symbol.update(TimedUpdate("predictions", BEGIN, prediction))
    [fired] = symbol.update(TimedUpdate("market-data", BEGIN, {"price": 151, "volume": 7}))
    data = alert_data(fired)
    assert data["message"] == "151 n/a"
    assert data.keys().isdisjoint({"confidence", "predicted_price", "predicted_return"})
    assert (data["price"], data["volume"]) == (151.0, 7.0)


@pytest.mark.parametrize(
    ("condition", "told"), [(RETURN, {"predictions", "market-data"}), (SURE, {"predictions"})]
)
def test_a_return_on_the_last_market_price_is_a_number_of_both_channels(
    condition: Any, told: set[str]
) -> None:
    symbol = machine({"conditions": [condition]})
    symbol.update(TimedUpdate("market-data", BEGIN, {"price": 100}))
    [fired] = symbol.update(
        TimedUpdate("predictions", BEGIN, {"predicted_price": 160, "confidence": 0.9})
    )
    data = alert_data(fired)
    assert fired.channels == told
    assert "price" not in data
    assert ("predicted_return" in data) is (condition is RETURN)


def _expire(key: ApiKey) -> None:
    key.expires_at = timezone.now() - timedelta(seconds=1)
    key.save()


def _narrow(key: ApiKey) -> None:
    key.symbols = {"market-data": ["MSFT"]}
    key.save()


def _unscope(key: ApiKey) -> None:
    key.scopes = ["alerts", "predictions"]
    key.save()


def _deactivate(key: ApiKey) -> None:
    key.owner.is_active = False
    key.owner.save()


@pytest.mark.postgres
@pytest.mark.parametrize(
    "withdraw", [ApiKey.revoke, ApiKey.delete, _expire, _narrow, _unscope, _deactivate]
)
async def test_a_rule_whose_key_may_not_read_any_more_is_quiet_at_once(
    each_layer: str, add_rule: Callable[..., AlertRule], withdraw: Callable[[ApiKey], object]
) -> None:
    key, raw = await database_sync_to_async(personas.bob_key)(name="rules")
    made = await database_sync_to_async(ask)(raw, {**rule_on(ABOVE), "message": "bob {price}"})
    assert made.status_code == 201
    await database_sync_to_async(add_rule)(message="alice {price}", symbols=["AAPL"])
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("bob 151", "alice 151")
        await database_sync_to_async(withdraw)(key)
        for price in (149, 152):
            await abroadcast_market_data("AAPL", {"price": price})
        await until_messages("bob 151", "alice 151", "alice 152")


async def test_a_rule_tells_no_return_on_a_price_that_its_key_may_not_read(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    scopes = ["alerts", "predictions"]
    _, raw = await database_sync_to_async(personas.bob_key)(name="rules", scopes=scopes)
    rule = {**rule_on(RETURN), "message": "{predicted_return}"}
    assert (await database_sync_to_async(ask)(raw, rule)).status_code == 201
    await database_sync_to_async(add_rule)(message="{price}", conditions=[ABOVE])
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("151")
        for stated in ({}, {"last_price": 200}, {"last_price": 100}):
            await abroadcast_prediction_update("AAPL", {"predicted_price": 160, **stated})
        await until_messages("151", "60")


def test_a_user_who_changes_a_rule_takes_it_from_the_key() -> None:
    _, raw = personas.bob_key()
    made = ask(raw, rule_on(ABOVE)).json()
    headers = {"Authorization": f"Bearer {personas.token(ApiKey.objects.get().owner)}"}
    path = f"{RULES}/{made['id']}"
    Client().patch(path, {"cooldown": 5}, "application/json", headers=headers)
    assert AlertRule.objects.get().key_id is None
