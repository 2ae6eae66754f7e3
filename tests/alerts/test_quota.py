"""Rules that fire too often: their user is told once, and nobody else hears of it."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.utils import timezone

from realtime.alerts import progress
from realtime.alerts.firing import Draft
from realtime.alerts.followed_symbol import Tracked
from realtime.alerts.progress import Commit, Saved
from realtime.alerts.rule_editing import definition_of, fill
from realtime.alerts.rule_state import Rule
from realtime.alerts.rules import parse_rule
from realtime.broadcast import abroadcast_many, market_data_update
from realtime.models import Alert, AlertRule
from realtime.protocol import Position
from tests import personas
from tests.alerts.test_engine import add_rule, engine, until_followed
from tests.clients import wait_for

__all__ = ["add_rule"]

pytestmark = pytest.mark.django_db(transaction=True)


def drafts(rule: AlertRule, count: int, name: str = "") -> list[Draft]:
    return [
        Draft(f"{name}{number}", rule.pk, rule.owner_id, "AAPL", "low", {"message": "fired"},
              frozenset(), None, None)
        for number in range(count)
    ]  # fmt: skip


def kinds(owner: Any) -> list[str]:
    alerts = Alert.objects.filter(owner=owner).order_by("id")
    return [alert.data.get("type", "rule") for alert in alerts]


@pytest.fixture
def rules(
    add_rule: Callable[..., AlertRule], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """Of three owners, and a clock that stands still in the middle of a minute."""
    settings.REALTIME_ALERTS_PER_USER_PER_MINUTE = 5
    clock = SimpleNamespace(now=timezone.now().replace(second=30))
    monkeypatch.setattr(progress.timezone, "now", lambda: clock.now)
    return SimpleNamespace(
        alice=add_rule(), carol=add_rule(owner=personas.carol()), all=add_rule(owner=None),
        clock=clock,
    )  # fmt: skip


@pytest.mark.postgres
def test_beyond_the_limit_a_user_gets_one_notice_a_minute_and_others_get_theirs(
    rules: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "realtime.alerts.quota"):
        for name in ("a", "b", "c"):
            progress.write(Commit(drafts=drafts(rules.alice, 4, name)))
    progress.write(Commit(drafts=[*drafts(rules.carol, 3, "d"), *drafts(rules.all, 5, "e")]))
    assert kinds(rules.alice.owner) == ["rule"] * 5 + ["alert_limit"]
    assert kinds(rules.carol.owner) == ["rule"] * 3
    assert kinds(None) == ["rule"] * 5
    assert [record.args[1] for record in caplog.records if record.args] == [5]


def test_in_the_next_minute_there_is_room_again(rules: SimpleNamespace) -> None:
    progress.write(Commit(drafts=drafts(rules.alice, 9, "a")))
    rules.clock.now += timedelta(minutes=1)
    progress.write(Commit(drafts=drafts(rules.alice, 4, "b")))
    assert kinds(rules.alice.owner) == ["rule"] * 5 + ["alert_limit"] + ["rule"] * 4


def test_a_notice_says_until_when(rules: SimpleNamespace) -> None:
    [*_, notice] = progress.write(Commit(drafts=drafts(rules.alice, 6)))
    until = datetime.fromisoformat(notice.data["until"])
    assert until == rules.clock.now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    assert (notice.data["limit"], notice.severity) == (5, "high")


def test_rules_that_are_deleted_make_no_room(rules: SimpleNamespace) -> None:
    progress.write(Commit(drafts=drafts(rules.alice, 5, "a")))
    AlertRule.objects.filter(pk=rules.alice.pk).delete()
    rules.alice.pk = None
    rules.alice.save()
    assert len(progress.write(Commit(drafts=drafts(rules.alice, 5, "b")))) == 1


def test_with_no_limit_everything_is_stored(rules: SimpleNamespace, settings: Any) -> None:
    settings.REALTIME_ALERTS_PER_USER_PER_MINUTE = 0
    assert len(progress.write(Commit(drafts=drafts(rules.alice, 50)))) == 50


async def test_a_rule_that_fires_with_every_other_update_fills_no_database(
    each_layer: str, add_rule: Callable[..., AlertRule], people: SimpleNamespace, settings: Any
) -> None:
    settings.REALTIME_ALERTS_PER_USER_PER_MINUTE = 20
    crossing = {"type": "crosses_above", "value": 150}
    add = database_sync_to_async(add_rule)
    await add(conditions=[crossing])
    await add(conditions=[{"type": "above", "value": 160}], owner=None)
    async with engine():
        await until_followed("AAPL")
        prices = [149, 151] * 300 + [161]
        await abroadcast_many([market_data_update("AAPL", {"price": price}) for price in prices])

        async def told() -> bool:
            return await Alert.objects.filter(owner=None).aexists()

        await wait_for(told)
    # A minute may have ended meanwhile.
    assert 21 <= await Alert.objects.filter(owner=people.alice).acount() <= 42


async def test_what_is_beyond_the_limit_is_not_even_kept_until_the_next_commit(
    each_layer: str, add_rule: Callable[..., AlertRule], settings: Any
) -> None:
    settings.REALTIME_ALERTS_PER_USER_PER_MINUTE = 5
    rows = [await database_sync_to_async(add_rule)() for _ in range(2)]
    saved = Saved({"market-data": Position("", 0)}, {}, 0, {})
    layer: Any = get_channel_layer()
    tracked = Tracked(getattr(layer, "loop_layer", layer), "AAPL", saved)
    for row in rows:
        tracked.put(Rule(row.pk, 1, row.owner_id, definition_of(row)))
    await abroadcast_many(
        [market_data_update("AAPL", {"price": 149 + n % 2 * 2}) for n in range(99)]
    )
    await tracked.catch_up()
    assert len(tracked.drafts) == 6


async def test_a_symbol_on_which_everything_fires_delays_no_other(
    redis_layer: None, add_rule: Callable[..., AlertRule], people: SimpleNamespace
) -> None:
    raw = {"symbols": ["FLOOD"], "conditions": [{"type": "above", "value": 150}]}
    await AlertRule.objects.abulk_create(
        fill(AlertRule(owner=people.alice), parse_rule(raw)) for _ in range(1000)
    )
    carol = await database_sync_to_async(personas.carol)()
    crossing = {"type": "crosses_above", "value": 150}
    await database_sync_to_async(add_rule)(owner=carol, conditions=[crossing])
    flood = [market_data_update("FLOOD", {"price": price}) for price in (149, 151)]

    async def told() -> bool:
        await abroadcast_many(flood * 10)
        return await Alert.objects.filter(owner=carol).aexists()

    async with engine():
        await until_followed("AAPL", "FLOOD")
        await abroadcast_many(flood * 200)
        for price in (149, 151):
            await abroadcast_many([market_data_update("AAPL", {"price": price})])
        await wait_for(told, every=0.1)
    assert await Alert.objects.filter(owner=people.alice).aexists()
