"""The engine in this process: what it follows, stores and sends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async

from realtime.alerts import engine as engines
from realtime.alerts import progress
from realtime.alerts.engine import run_alerts
from realtime.alerts.progress import Commit
from realtime.alerts.rule_editing import delete_rules, fill, save_rule
from realtime.alerts.rules import parse_rule
from realtime.broadcast import (
    abroadcast_many,
    abroadcast_market_data,
    abroadcast_prediction_update,
    market_data_update,
)
from realtime.models import Alert, AlertProgress, AlertRule, WebhookDelivery
from realtime.webhooks.destinations import new_destination
from tests.clients import wait_for
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
ABOVE = {"type": "above", "value": 150}


@pytest.fixture
def add_rule(people: SimpleNamespace) -> Callable[..., AlertRule]:
    def add(*, owner: Any = people.alice, **raw: Any) -> AlertRule:
        definition = parse_rule({"symbols": ["AAPL"], "conditions": [ABOVE], **raw})
        return save_rule(fill(AlertRule(owner=owner), definition))

    return add


@contextlib.asynccontextmanager
async def engine() -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_alerts(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


@database_sync_to_async
def messages() -> list[str]:
    return [alert.data["message"] for alert in Alert.objects.order_by("id")]


@database_sync_to_async
def followed() -> list[str]:
    return sorted(AlertProgress.objects.values_list("symbol", flat=True))


async def until_messages(*expected: str) -> None:
    async def arrived() -> bool:
        return len(await messages()) >= len(expected)

    await wait_for(arrived)
    assert await messages() == list(expected)


async def until_followed(*symbols: str) -> None:
    async def followed_all() -> bool:
        return set(symbols) <= set(await followed())

    await wait_for(followed_all)


async def test_a_rule_that_fires_is_stored_for_its_owner_and_sent(
    each_layer: str, add_rule: Callable[..., AlertRule], people: SimpleNamespace
) -> None:
    rule = await database_sync_to_async(add_rule)(severity="high", message="{symbol} {price}")
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("AAPL 151")
    alert = await Alert.objects.aget()
    assert (alert.owner_id, alert.rule_id, alert.severity) == (people.alice.pk, rule.pk, "high")
    assert alert.sent_at is not None
    assert alert.data["type"] == "price_alert"


async def test_an_alert_is_queued_for_the_destinations_of_its_rule(
    each_layer: str, add_rule: Callable[..., AlertRule], people: SimpleNamespace
) -> None:
    add = database_sync_to_async(new_destination)
    chats = [await add(people.alice, f"ntfys://ntfy.sh/topic{number}") for number in range(2)]
    await database_sync_to_async(add_rule)(message="{price}", destinations=[chats[1].pk])
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("151")
    row = await WebhookDelivery.objects.aget()
    assert (row.endpoint_id, row.status) == (chats[1].pk, "pending")


async def test_what_was_published_while_no_engine_ran_is_evaluated_later(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    await database_sync_to_async(add_rule)(message="{price}")
    async with engine():
        await until_followed("AAPL")
    for price in (149, 151, *([149, 151] * 200)):
        await abroadcast_market_data("AAPL", {"price": price})
    async with engine():
        await until_messages(*["151"] * 201)


async def test_what_was_published_before_a_rule_was_made_is_not_its_business(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    await abroadcast_market_data("AAPL", {"price": 151})
    await database_sync_to_async(add_rule)(message="{price}")
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 152})
        await until_messages("152")


async def test_what_was_published_after_a_rule_was_made_is_its_business_whenever_an_engine_starts(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    await abroadcast_market_data("AAPL", {"price": 149})
    crossing = {"type": "crosses_above", "value": 150}
    await database_sync_to_async(add_rule)(conditions=[crossing], message="{price}")
    for price in (151, 149, 152):
        await abroadcast_market_data("AAPL", {"price": price})
    async with engine():
        await until_messages("151", "152")


async def test_changes_of_rules_apply_within_a_second(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    async with engine():
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            rule = await database_sync_to_async(add_rule)(message="first {price}")
            await until_followed("AAPL")
            await abroadcast_market_data("AAPL", {"price": 151})
            await until_messages("first 151")
            second = await database_sync_to_async(add_rule)(message="second", symbols=["MSFT"])
            await until_followed("MSFT")
            await database_sync_to_async(delete_rules)([rule, second])

            async def forgotten() -> bool:
                return await followed() == []

            await wait_for(forgotten)
        await abroadcast_market_data("MSFT", {"price": 151})
        await until_messages("first 151")


async def test_a_rule_on_every_symbol_follows_new_ones(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    await abroadcast_market_data("OLD", {"price": 1})
    await database_sync_to_async(add_rule)(symbols="*", message="{symbol}")
    async with engine():
        await until_followed("OLD")
        await abroadcast_market_data("NEW", {"price": 151})
        await until_messages("NEW")
    await abroadcast_market_data("NEWER", {"price": 151})
    async with engine():
        await until_messages("NEW", "NEWER")


async def test_prices_and_predictions_meet_in_one_rule(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    conditions = [ABOVE, {"type": "confidence_above", "value": 0.8}]
    await database_sync_to_async(add_rule)(conditions=conditions, message="both")
    async with engine():
        await until_followed("AAPL")
        await abroadcast_prediction_update("AAPL", {"predicted_price": 160, "confidence": 0.9})
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("both")


async def test_a_rule_that_waits_fires_without_another_update(
    each_layer: str, add_rule: Callable[..., AlertRule]
) -> None:
    await database_sync_to_async(add_rule)(**{"for": 0.3}, message="held")
    async with engine():
        await until_followed("AAPL")
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("held")


async def test_two_engines_fire_once(redis_layer: None, add_rule: Callable[..., AlertRule]) -> None:
    symbols = [f"S{number}" for number in range(8)]
    await database_sync_to_async(add_rule)(symbols=symbols, message="{symbol}")
    async with engine(), engine():
        await until_followed(*symbols)
        for symbol in symbols:
            await abroadcast_market_data(symbol, {"price": 151})

        async def all_fired() -> bool:
            return len(await messages()) >= len(symbols)

        await wait_for(all_fired)
        await asyncio.sleep(0.3)
    assert sorted(await messages()) == symbols


@pytest.mark.slow
@pytest.mark.usefixtures("redis_layer")
async def test_an_engine_survives_a_hundred_others_that_come_and_go(
    add_rule: Callable[..., AlertRule], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time both of them leave their streams and read others, in whatever turn of the loop."""
    monkeypatch.setattr(engines, "BEAT_SECONDS", 0.005)
    symbols = [f"S{number}" for number in range(6)]
    await database_sync_to_async(add_rule)(symbols=symbols, message="{price}")
    async with engine():
        for number in range(100):
            async with engine():
                await asyncio.sleep(0.001 * number)
        await until_followed(*symbols)
        for symbol in symbols:
            await abroadcast_market_data(symbol, {"price": 151})
        await until_messages(*["151"] * len(symbols))


@database_sync_to_async
def taken_up() -> int:
    return AlertProgress.objects.count()


async def test_an_alert_does_not_wait_until_a_rule_on_every_symbol_is_taken_up(
    add_rule: Callable[..., AlertRule], people: SimpleNamespace
) -> None:
    never = {"type": "percent_move", "value": 99999, "window": 60}
    await abroadcast_many([market_data_update(f"S{n}", {"price": 1}) for n in range(3000)])
    await database_sync_to_async(add_rule)(owner=people.key_row.owner, message="{price}")
    async with engine():
        await until_followed("AAPL")
        await database_sync_to_async(add_rule)(symbols="*", conditions=[never])

        async def begun() -> bool:
            return await taken_up() > 1

        await wait_for(begun)
        await abroadcast_market_data("AAPL", {"price": 151})
        await until_messages("151")
        assert await taken_up() < 3000


async def test_no_commit_holds_the_database_for_more_than_a_slice_of_the_symbols(
    add_rule: Callable[..., AlertRule], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def write(commit: Commit) -> list[Alert]:
        sizes.append(len(commit.moved))
        return progress.write(commit)

    monkeypatch.setattr(engines, "progress", SimpleNamespace(**{**vars(progress), "write": write}))
    symbols = [f"S{number}" for number in range(100)]
    await database_sync_to_async(add_rule)(symbols=symbols, conditions=[ABOVE])
    async with engine():
        await until_followed(*symbols)
        await abroadcast_many([market_data_update(symbol, {"price": 1}) for symbol in symbols])

        async def all_committed() -> bool:
            return sum(sizes) >= len(symbols)

        await wait_for(all_committed)
    assert max(sizes) <= engines.SLICE
