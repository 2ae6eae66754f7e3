"""`configure_alerts` with rules, and with `dry_run`."""

from types import SimpleNamespace
from typing import Any

import pytest

from realtime.models import AlertRule
from tests.clients import Open
from tests.consumers import bearer, publish

pytestmark = pytest.mark.django_db(transaction=True)
RULE = {"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}], "cooldown": 60}


@pytest.fixture
async def alice(connect: Open, people: SimpleNamespace) -> Any:
    return await connect("/ws/alerts", headers=bearer(people.token))


async def test_rules_are_stored_and_answered_with_their_ids(
    each_layer: str, alice: Any, people: SimpleNamespace
) -> None:
    config = {"rules": [RULE], "min_severity": "low"}
    answer = await alice.ask("configure_alerts", config=config)
    assert answer["type"] == "alerts_configured"
    row = await AlertRule.objects.aget()
    assert (row.owner_id, row.source, row.name) == (
        people.alice.pk,
        "socket",
        "AAPL price above 150",
    )
    assert answer["config"]["min_severity"] == "low"
    [rule] = answer["config"]["rules"]
    assert rule.items() >= {**RULE, "id": row.pk}.items()


async def test_rules_replace_those_sent_before_and_leave_others_alone(
    each_layer: str, alice: Any, people: SimpleNamespace
) -> None:
    other = await AlertRule.objects.acreate(
        owner=people.alice, name="by REST", definition=RULE, severity="medium"
    )
    first = (await alice.ask("configure_alerts", config={"rules": [RULE]}))["config"]["rules"][0]
    again = await alice.ask("configure_alerts", config={"rules": [RULE, {**RULE, "name": "new"}]})
    kept, new = again["config"]["rules"]
    assert kept == first
    assert (await AlertRule.objects.aget(pk=kept["id"])).revision == 1
    await alice.ask("configure_alerts", config={"rules": [{**new, "cooldown": 5}]})
    assert (await AlertRule.objects.aget(pk=new["id"])).revision == 2
    await alice.ask("configure_alerts", config={"rules": []})
    assert [row.pk async for row in AlertRule.objects.all()] == [other.pk]


async def test_a_configuration_without_rules_keeps_them(each_layer: str, alice: Any) -> None:
    await alice.ask("configure_alerts", config={"rules": [RULE]})
    await alice.ask("configure_alerts", config={"min_severity": "high"})
    assert await AlertRule.objects.acount() == 1


async def test_a_bad_rule_is_refused_with_its_field_and_nothing_is_changed(
    each_layer: str, alice: Any
) -> None:
    bad = {**RULE, "conditions": [{"type": "above", "value": "high"}]}
    answer = await alice.ask("configure_alerts", config={"rules": [RULE, bad]})
    assert answer["code"] == "invalid_message"
    assert answer["details"] == {"field": "config.rules[1].conditions[0].value"}
    assert not await AlertRule.objects.aexists()


async def test_a_user_may_have_so_many_rules(each_layer: str, alice: Any, settings: Any) -> None:
    settings.REALTIME_ALERT_RULES_PER_USER = 1
    answer = await alice.ask("configure_alerts", config={"rules": [RULE, RULE]})
    assert answer["details"] == {"field": "config.rules"}
    assert not await AlertRule.objects.aexists()


async def test_an_anonymous_socket_has_no_rules(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    client = await connect("/ws/alerts")
    for config in ({"rules": [RULE]}, {"rules": [RULE], "dry_run": True}):
        assert (await client.ask("configure_alerts", config=config))["code"] == "auth_required"


async def test_a_dry_run_says_how_often_rules_would_have_fired_and_changes_nothing(
    each_layer: str, alice: Any
) -> None:
    await publish("AAPL", 149, 151, 149, 152, 149)
    config = {"rules": [{**RULE, "message": "at {price}"}], "dry_run": True}
    answer = await alice.ask("configure_alerts", config=config)
    [rule] = answer["config"]["rules"]
    report = rule["dry_run"]
    assert (report["fired"], report["fired_without_cooldown"], report["updates"]) == (1, 2, 5)
    assert [time["message"] for time in report["times_without_cooldown"]] == ["at 151", "at 152"]
    assert not await AlertRule.objects.aexists()


async def test_a_dry_run_needs_rules(each_layer: str, alice: Any) -> None:
    answer = await alice.ask("configure_alerts", config={"dry_run": True})
    assert answer["details"] == {"field": "config.dry_run"}


async def test_a_key_for_some_symbols_has_rules_for_these_alone(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    people.key_row.symbols = {"market-data": ["BTC*"]}
    await people.key_row.asave()
    client = await connect(f"/ws/alerts?token={people.key}")
    answer = await client.ask("configure_alerts", config={"rules": [RULE]})
    assert answer["details"] == {"field": "config.rules[0].symbols[0]"}
    config = {"rules": [RULE], "dry_run": True}
    answer = await client.ask("configure_alerts", config=config)
    assert answer["details"] == {"field": "config.rules[0].symbols[0]"}


async def test_a_socket_has_one_dry_run_at_a_time(each_layer: str, alice: Any) -> None:
    await publish("AAPL", *range(100))
    for id in (1, 2):
        await alice.send("configure_alerts", id=id, config={"rules": [RULE] * 10, "dry_run": True})
    refused, done = await alice.next(), await alice.next()
    assert (refused["id"], refused["code"], refused["retry"]) == (2, "rate_limited", True)
    assert (done["id"], done["type"]) == (1, "alerts_configured")
    again = {"rules": [RULE], "dry_run": True}
    assert (await alice.ask("configure_alerts", config=again))["type"] == "alerts_configured"


async def test_a_dry_run_has_ten_rules_at_most(each_layer: str, alice: Any) -> None:
    answer = await alice.ask("configure_alerts", config={"rules": [RULE] * 11, "dry_run": True})
    assert answer["details"] == {"field": "config.rules"}


async def test_a_rule_that_cannot_be_read_is_replaced(each_layer: str, alice: Any) -> None:
    await alice.ask("configure_alerts", config={"rules": [RULE]})
    await AlertRule.objects.aupdate(definition=[])
    answer = await alice.ask("configure_alerts", config={"rules": [RULE]})
    assert answer["config"]["rules"][0].items() >= RULE.items()
