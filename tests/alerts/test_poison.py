"""Numbers and rows that cannot be: they stop nothing but themselves, also after a restart."""

import sys
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from realtime.alerts import inbox
from realtime.alerts.evaluator import TimedUpdate
from realtime.alerts.firing import draft
from realtime.alerts.messages import render
from realtime.alerts.rule_editing import save_rule
from realtime.alerts.rules import InvalidRule, parse_rule
from realtime.alerts.sending import send
from realtime.broadcast import abroadcast_market_data, abroadcast_prediction_update
from realtime.models import (
    Alert,
    AlertProblem,
    AlertProgress,
    AlertRule,
    AlertRuleState,
    WebhookDelivery,
    WebhookEndpoint,
)
from realtime.protocol import Position
from tests.alerts.test_engine import (
    ABOVE,
    add_rule,
    engine,
    messages,
    until_followed,
    until_messages,
)
from tests.alerts.test_evaluator import BEGIN, machine, prices
from tests.clients import wait_for

__all__ = ["add_rule"]

pytestmark = pytest.mark.django_db(transaction=True)

LARGEST = sys.float_info.max
DENORMAL = 5e-324
LAST_SECOND = 253_402_300_799_000  # of the year 9999, in milliseconds
BEGUN = {"market-data": ["", 0]}
MOVE = {"type": "percent_move", "value": 5, "window": 3600}
RETURN = {"type": "predicted_return_above", "value": 1}


@database_sync_to_async
def problems() -> list[tuple[str, str | None]]:
    found = AlertProblem.objects.select_related("rule").order_by("id")
    return [(each.symbol, each.rule and each.rule.name) for each in found]


async def until_problems(*expected: tuple[str, str | None]) -> None:
    async def noted() -> bool:
        return await problems() == list(expected)

    await wait_for(noted)


async def until_all(*expected: str) -> None:
    """Of several symbols, in any order."""

    async def arrived() -> bool:
        return sorted(await messages()) == sorted(expected)

    await wait_for(arrived)


async def remember(rule: AlertRule, state: Any) -> None:
    await AlertProgress.objects.acreate(symbol="AAPL", positions=BEGUN)
    await AlertRuleState.objects.acreate(rule=rule, symbol="AAPL", revision=1, data=state)


@pytest.mark.postgres
async def test_a_price_of_almost_infinity_is_no_move_and_all_other_rules_fire(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    add = database_sync_to_async(add_rule)
    await add(symbols=["EXTR"], conditions=[MOVE], message="moved")
    await add(symbols=["EXTR"], conditions=[{"type": "below", "value": 60}], message="{price}")
    await add(message="AAPL {price}")
    for _ in range(2):  # and once more, from what was stored
        async with engine():
            await until_followed("AAPL", "EXTR")
            if not await Alert.objects.acount():
                for price in (50, LARGEST, 51):
                    await abroadcast_market_data("EXTR", {"price": price})
                await abroadcast_market_data("AAPL", {"price": 151})
            await until_all("50", "51", "AAPL 151")


async def test_a_prediction_of_almost_infinity_is_no_return_and_all_other_rules_fire(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    add = database_sync_to_async(add_rule)
    await add(symbols=["EXTR"], conditions=[RETURN], message="returns")
    await add(message="{price}")
    async with engine():
        await until_followed("AAPL", "EXTR")
        await abroadcast_prediction_update("EXTR", {"predicted_price": LARGEST, "last_price": 50})
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("151")
    assert await problems() == []


@pytest.mark.parametrize("values", [(DENORMAL, 1), (50, LARGEST), (-LARGEST, LARGEST, DENORMAL)])
def test_prices_too_far_apart_for_a_percentage_are_no_move(values: tuple[float, ...]) -> None:
    symbol = machine({"conditions": [{**MOVE, "direction": "up"}]})
    assert prices(symbol, *values) == []
    assert "Infinity" not in str(symbol.as_data())


def test_a_number_of_minus_nothing_is_nothing() -> None:
    symbol = machine({"conditions": [{"type": "below", "value": 1}]})
    [fired] = symbol.update(TimedUpdate("market-data", BEGIN, {"price": -0.0, "volume": -0.0}))
    assert draft(fired, "market-data", Position("e", 1)).data["message"] == "AAPL: price below 1"
    assert [str(number) for number in fired.numbers.values()] == ["0.0", "0.0"]


def test_a_number_that_a_format_makes_infinite_is_not_known() -> None:
    assert render("{price:.2%} {price:.3f}", {"price": LARGEST})[:4] == "n/a "


def test_a_rule_that_cannot_be_evaluated_is_left_out_alone() -> None:
    hours = {"start": "09:00", "end": "10:00", "timezone": "America/New_York"}
    symbol = machine({"conditions": [ABOVE], "active_hours": hours}, {"conditions": [ABOVE]})
    [fired] = symbol.update(TimedUpdate("market-data", LAST_SECOND, {"price": 151}))
    assert fired.rule.id == 1
    assert [rule.id for rule, _ in symbol.failed] == [0]


@pytest.mark.parametrize(
    "state",
    [
        {"now": "soon"}, {"values": {"price:market-data:0": "high"}}, {"last": [1]},
        {"windows": {"3600000": [1]}}, [1],
    ],
)  # fmt: skip
async def test_a_symbol_whose_stored_state_makes_no_sense_is_set_aside_alone(
    each_layer: str, add_rule: Callable[..., AlertRule], state: Any
) -> None:
    add = database_sync_to_async(add_rule)
    await add(symbols=["EXTR"], conditions=[MOVE, {"type": "stale", "seconds": 60}])
    await add(message="{price}")
    await AlertProgress.objects.acreate(symbol="EXTR", positions=BEGUN, state=state)
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("EXTR", {"price": 50})
        await until_problems(("EXTR", None))
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("151")


async def test_a_rule_whose_stored_state_makes_no_sense_is_set_aside_alone(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    add = database_sync_to_async(add_rule)
    rule = await add(name="poisoned", message="poisoned")
    await add(message="{price}")
    await remember(rule, {"on": 7})
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("151")
        await until_problems(("AAPL", "poisoned"))


@pytest.mark.postgres
@pytest.mark.parametrize("definition", [[], {}, {"symbols": 7}, {"active_hours": [[]]}])
async def test_a_rule_that_cannot_be_read_is_set_aside_alone(
    each_layer: str, add_rule: Callable[..., AlertRule], definition: Any
) -> None:
    add = database_sync_to_async(add_rule)
    rule = await add(name="poisoned")
    await AlertRule.objects.filter(pk=rule.pk).aupdate(definition=definition)
    await add(message="{price}")
    async with engine():
        await until_problems(("", "poisoned"))
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("151")


@pytest.mark.postgres
async def test_a_symbol_that_the_database_does_not_take_is_set_aside_alone(
    each_layer: str, add_rule: Callable[..., AlertRule], people: SimpleNamespace
) -> None:
    add = database_sync_to_async(add_rule)
    await add(symbols=["EXTR"], message="EXTR {price}")
    await add(message="{price}")
    async with engine():
        await until_followed("AAPL", "EXTR")
        for price in (151, 149):
            await abroadcast_market_data("EXTR", {"price": price})
        await until_messages("EXTR 151")
    # The next alert of EXTR has an id that is taken.
    alert = await Alert.objects.aget()
    await AlertProgress.objects.filter(symbol="EXTR").aupdate(positions=BEGUN, state={})
    await AlertRuleState.objects.all().adelete()
    async with engine():
        await until_problems(("EXTR", None))
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("EXTR 151", "151")
    assert await Alert.objects.filter(pk=alert.pk).aexists()


async def test_a_changed_rule_is_evaluated_again(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    add = database_sync_to_async(add_rule)
    rule = await add(message="{price}")
    await remember(rule, {"on": 7})
    async with engine():
        await until_problems(("AAPL", rule.name))
        await database_sync_to_async(save_rule)(rule)
        await until_problems()

        async def fired() -> bool:
            await abroadcast_market_data("AAPL", {"price": 149})
            await abroadcast_market_data("AAPL", {"price": 151})
            return await Alert.objects.aexists()

        await wait_for(fired)


async def test_an_alert_that_cannot_be_sent_keeps_no_other_from_it(
    each_layer: str, people: SimpleNamespace
) -> None:
    broken = await Alert.objects.acreate(uid="broken", owner=people.alice, data=[1])
    sound = await Alert.objects.acreate(uid="sound", owner=people.alice, data={"message": "1"})
    assert await send([broken, sound]) == ["broken", "sound"]


@pytest.mark.parametrize("data", [[1], {"message": "x" * 100_000}])
def test_an_alert_that_cannot_be_escalated_keeps_no_other_from_it(
    people: SimpleNamespace, data: Any
) -> None:
    endpoint, _ = WebhookEndpoint.objects.create_endpoint(people.alice, "https://example.com/hook")
    due = timezone.now() - timedelta(seconds=1)
    for uid, each in (("broken", data), ("sound", {"message": "1"})):
        Alert.objects.create(
            uid=uid, owner=people.alice, data=each, escalate_to=endpoint, escalate_at=due
        )
    assert inbox.escalate() == 2
    assert inbox.escalate() == 0
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"severity": "\ud800"}, ""),
        ({"\ud800": 1}, ""),
        ({"active_hours": {"start": "00:00", "end": "01:00", "days": ["mon"] * 99}},
         "active_hours.days"),
    ],
)  # fmt: skip
def test_a_rule_that_no_engine_could_keep_is_refused_with_its_field(
    raw: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRule) as caught:
        parse_rule({"symbols": ["AAPL"], "conditions": [ABOVE], **raw})
    assert caught.value.field == field
