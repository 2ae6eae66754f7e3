"""Alerts for everybody and for one user; filters, replay."""

from types import SimpleNamespace
from typing import Any

from tests.checker import Checker
from tests.clients import Open
from tests.consumers import bearer, publish_alert


async def test_an_alert_for_everybody_reaches_everybody(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    anonymous = await connect("/ws/alerts")
    alice = await connect(f"/ws/alerts?token={people.token}")
    bob = await connect(f"/ws/alerts?token={people.key}")
    data = {"type": "price_alert", "symbol": "AAPL", "message": "x", "severity": "high"}
    await publish_alert(data)
    alerts = [await client.next() for client in (anonymous, alice, bob)]
    for alert in alerts:
        assert (alert["type"], alert["data"], alert["audience"]) == ("alert", data, "all")
        assert alert["offset"] == 1
    assert len({alert["id"] for alert in alerts}) == 1


async def test_an_alert_for_a_user_reaches_all_of_that_users_sockets_alone(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    others = [await connect("/ws/alerts"), await connect(f"/ws/alerts?token={people.key}")]
    alices = [await connect(f"/ws/alerts?token={people.token}") for _ in range(2)]
    await publish_alert({"message": "for Alice"}, user_id=people.alice.pk)
    for client in alices:
        alert = await client.next()
        assert (alert["audience"], alert["offset"]) == ("user", 1)
    await publish_alert({"message": "for all"})
    for client in (*others, *alices):
        assert (await client.next())["data"] == {"message": "for all"}


async def test_configured_alerts_are_those_severe_enough(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/alerts")
    answer = await client.ask("configure_alerts", config={"min_severity": "high"})
    assert answer["type"] == "alerts_configured"
    assert answer["config"] == {"min_severity": "high"}
    for severity in ("low", "medium", "high", "critical"):
        await publish_alert({"severity": severity})
    alerts = [await client.next(), await client.next()]
    assert [alert["data"]["severity"] for alert in alerts] == ["high", "critical"]


async def test_configured_alerts_are_those_of_the_symbols(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/alerts")
    await client.ask("configure_alerts", config={"symbols": ["aapl"]})
    for symbol in ("MSFT", "AAPL"):
        await publish_alert({"symbol": symbol})
    assert (await client.next())["data"] == {"symbol": "AAPL"}


async def test_an_empty_configuration_brings_every_alert_again(
    each_layer: str, connect: Open
) -> None:
    client = await connect("/ws/alerts")
    await client.ask("configure_alerts", config={"min_severity": "critical"})
    await client.ask("configure_alerts", config={})
    await publish_alert({"severity": "low"})
    assert (await client.next())["data"] == {"severity": "low"}


async def test_filtered_alerts_are_no_gap(each_layer: str, connect: Open) -> None:
    """An offset that a filter passed over must not look like a loss to the client."""
    client = await connect("/ws/alerts")
    await client.ask("configure_alerts", config={"min_severity": "high"})
    await publish_alert({"severity": "low"})
    await publish_alert({"severity": "high"})
    alert = await client.next()
    assert (alert["offset"], alert.get("filtered")) == (2, 1)


async def test_what_was_filtered_before_another_configuration_is_no_gap_either(
    each_layer: str, connect: Open
) -> None:
    client = await connect("/ws/alerts")
    witness = await connect("/ws/alerts")
    low = {"severity": "low", "message": "unwanted, but for the last"}
    for severity in ("high", "medium"):
        await client.ask("configure_alerts", config={"min_severity": severity})
        await publish_alert(low)
        # Published is not yet read by the server: the next configuration must not meet it.
        await witness.next()
    await client.ask("configure_alerts", config={})
    await publish_alert(low)
    alert = await client.next()
    assert (alert["offset"], alert["filtered"]) == (3, 2)


async def test_missed_alerts_are_replayed(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    client = await connect("/ws/alerts", headers=bearer(people.token))
    checker = Checker()
    checker.feed(client.seen[0])
    await publish_alert({"message": "one"})
    checker.feed(await client.next())
    await client.leave()
    await publish_alert({"message": "two"})
    client = await connect("/ws/alerts")
    answer = await client.ask("subscribe", symbols=["all"], since={"all": checker.since()["all"]})
    assert answer["streams"]["all"]["recovered"] is True
    checker.feed(answer)
    alert = await client.next()
    checker.feed(alert)
    assert (alert["data"], alert["replayed"]) == ({"message": "two"}, True)
    checker.assert_complete()


async def test_missed_alerts_of_a_user_are_replayed_without_an_inbox_too(
    each_layer: str, connect: Open, people: SimpleNamespace, settings: Any
) -> None:
    settings.REALTIME_ALERT_STORE = ""
    client = await connect("/ws/alerts", headers=bearer(people.token))
    checker = Checker()
    checker.feed(client.seen[0])
    await publish_alert({"message": "one"})
    checker.feed(await client.next())
    await client.leave()
    await publish_alert({"message": "two"})
    await publish_alert({"message": "for Alice"}, user_id=people.alice.pk)
    client = await connect("/ws/alerts", headers=bearer(people.token))
    answer = await client.ask("subscribe", symbols=["all", "user"], since=checker.since())
    assert [answer["streams"][name]["recovered"] for name in ("all", "user")] == [True, True]
    checker.feed(answer)
    alerts = [await client.next(), await client.next()]
    for alert in alerts:
        checker.feed(alert)
        assert alert["replayed"] is True
        assert alert["offset"] == {"two": 2, "for Alice": 1}[alert["data"]["message"]]
    assert {alert["data"]["message"] for alert in alerts} == {"two", "for Alice"}
    checker.assert_complete()


async def test_an_old_alert_is_no_snapshot(each_layer: str, connect: Open) -> None:
    await publish_alert({"message": "old"})
    client = await connect("/ws/alerts")
    assert client.seen[0]["streams"]["all"]["offset"] == 1
    await client.assert_quiet()
