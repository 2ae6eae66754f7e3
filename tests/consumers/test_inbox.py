"""Alerts for clients that were away: replayed once, until they are acknowledged."""

from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async

from realtime.alerts import inbox
from realtime.broadcast import (
    PublishFailed,
    abroadcast_market_data,
    alert_update,
    asend_alert,
    send_alert,
)
from realtime.models import Alert, AlertAcknowledgement, WebhookDelivery, WebhookEndpoint
from tests import personas
from tests.clients import Open
from tests.conftest import REDIS
from tests.consumers import bearer, publish_alert

pytestmark = pytest.mark.django_db(transaction=True)


def texts(alerts: list[dict[str, Any]]) -> list[str]:
    return [alert["data"]["message"] for alert in alerts]


async def read(client: Any) -> list[dict[str, Any]]:
    """The alerts that came until now."""
    await client.assert_alive()
    return client.of_type("alert")


async def test_who_was_away_gets_the_alerts_oldest_first(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    await publish_alert({"message": "for Alice"}, user_id=people.alice.pk)
    await publish_alert({"message": "for all"})
    await publish_alert({"message": "for Bob"}, user_id=people.key_row.owner_id)
    alerts = await read(await connect("/ws/alerts", headers=bearer(people.token)))
    assert texts(alerts) == ["for Alice", "for all"]
    assert [alert["audience"] for alert in alerts] == ["user", "all"]
    assert all(alert["replayed"] and "offset" not in alert for alert in alerts)


async def test_acknowledged_alerts_do_not_come_again(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    for message in ("one", "two"):
        await publish_alert({"message": message}, user_id=people.alice.pk)
    client = await connect("/ws/alerts", headers=bearer(people.token))
    first = (await read(client))[0]["id"]
    answer = await client.ask("ack", ids=[first, first, "unknown", 7, "\x00"])
    assert (answer["type"], answer["ids"]) == ("acked", [first])
    again = await connect("/ws/alerts", headers=bearer(people.token))
    assert texts(await read(again)) == ["two"]


async def test_who_acknowledges_an_alert_for_everybody_does_it_alone(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    await publish_alert({"message": "for all"})
    alice = await connect("/ws/alerts", headers=bearer(people.token))
    await alice.ask("ack", ids=[(await read(alice))[0]["id"]])
    bob = await connect(f"/ws/alerts?token={people.key}")
    assert texts(await read(bob)) == ["for all"]


async def test_nobody_acknowledges_the_alerts_of_another_user(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    await publish_alert({"message": "for Alice"}, user_id=people.alice.pk)
    uid = (await Alert.objects.aget()).uid
    bob = await connect(f"/ws/alerts?token={people.key}")
    assert (await bob.ask("ack", ids=[uid]))["ids"] == []
    assert not await AlertAcknowledgement.objects.aexists()


async def test_an_anonymous_socket_has_no_inbox(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    await publish_alert({"message": "for all"})
    client = await connect("/ws/alerts")
    await client.assert_quiet()
    assert (await client.ask("ack", ids=["x"]))["code"] == "auth_required"


async def test_auth_on_an_open_socket_brings_the_inbox(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    await publish_alert({"message": "before"}, user_id=people.alice.pk)
    client = await connect("/ws/alerts")
    await publish_alert({"message": "for all"})
    await client.ask("auth", token=people.token)
    await client.until("alert", replayed=True)
    assert sorted(texts(await read(client))) == ["before", "for all"]


async def test_the_newest_300_are_replayed(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    updates = [alert_update({"message": str(number)}, people.alice.pk) for number in range(310)]
    await database_sync_to_async(inbox.store)(updates)
    client = await connect("/ws/alerts", headers=bearer(people.token))
    assert texts(await read(client)) == [str(number) for number in range(10, 310)]


async def test_large_alerts_are_replayed_as_far_as_the_outbox_holds_them(
    each_layer: str, connect: Open, people: SimpleNamespace, settings: Any
) -> None:
    settings.REALTIME_OUTBOX_BYTES = 100_000
    updates = [
        alert_update({"message": str(number), "x": "x" * 9_000}, people.alice.pk)
        for number in range(20)
    ]
    await database_sync_to_async(inbox.store)(updates)
    client = await connect("/ws/alerts", headers=bearer(people.token))
    assert texts(await read(client)) == [str(number) for number in range(15, 20)]


async def test_alerts_from_before_a_user_joined_are_not_that_users(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    await publish_alert({"message": "long ago"})
    carol = await database_sync_to_async(personas._user)("carol")
    client = await connect("/ws/alerts", headers=bearer(personas.token(carol)))
    await client.assert_quiet()


async def test_no_alert_is_shown_twice_to_one_socket(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    client = await connect("/ws/alerts", headers=bearer(people.token))
    since = {name: dict(info) for name, info in client.seen[0]["streams"].items()}
    await client.leave()
    for message in ("one", "two"):
        await publish_alert({"message": message}, user_id=people.alice.pk)
    client = await connect("/ws/alerts", headers=bearer(people.token))
    answer = await client.ask("subscribe", symbols=["user"], since={"user": since["user"]})
    assert answer["streams"]["user"]["recovered"] is True
    await publish_alert({"message": "three"}, user_id=people.alice.pk)
    await client.until("alert", audience="user")
    alerts = await read(client)
    assert texts(alerts) == ["one", "two", "three"]
    assert alerts[-1]["filtered"] == 2


async def test_an_alert_with_a_character_that_no_database_takes_is_stored_without_it(
    each_layer: str, people: SimpleNamespace
) -> None:
    message = "a\0b \\u0000"
    assert (await publish_alert({"message": message, "more": [{"\0": "\0"}]})).stored is True
    data = (await Alert.objects.aget()).data
    assert data == {"message": "a\ufffdb \\u0000", "more": [{"\ufffd": "\ufffd"}]}


async def test_an_alert_for_nobody_known_is_sent_and_not_stored(
    each_layer: str, people: SimpleNamespace
) -> None:
    publication = await publish_alert({"message": "to a ghost"}, user_id=10_000_000)
    assert (publication.offset, publication.stored) == (1, False)
    assert not await Alert.objects.aexists()


async def test_old_alerts_are_deleted(people: SimpleNamespace, settings: Any) -> None:
    await publish_alert({"message": "old"})
    assert await database_sync_to_async(inbox.prune)() == 0
    settings.REALTIME_ALERT_DAYS = 0
    assert await database_sync_to_async(inbox.prune)() == 1
    assert not await Alert.objects.aexists()


@pytest.mark.parametrize("synchronous", [True, False])
async def test_an_alert_that_could_not_be_sent_is_taken_back_with_its_webhooks(
    people: SimpleNamespace, settings: Any, synchronous: bool
) -> None:
    await database_sync_to_async(WebhookEndpoint.objects.create_endpoint)(
        people.alice, "https://example.com/hook"
    )
    hosts = ["redis://127.0.0.1:1"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    send: Any = database_sync_to_async(send_alert) if synchronous else asend_alert
    with pytest.raises(PublishFailed):
        await send({"message": "lost"})
    assert not await Alert.objects.aexists()
    assert not await WebhookDelivery.objects.aexists()


async def test_an_alert_that_cannot_be_stored_is_sent_all_the_same(
    connect: Open, people: SimpleNamespace, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REALTIME_ALERT_STORE = "realtime.alerts.inbox.nothing"
    client = await connect("/ws/alerts")
    publication = await publish_alert({"message": "hello"})
    assert publication.stored is False
    assert (await client.next())["data"] == {"message": "hello"}
    assert "were sent but not stored" in caplog.text


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_publication_says_whether_it_was_stored(
    each_layer: str, people: SimpleNamespace, synchronous: bool
) -> None:
    send: Any = database_sync_to_async(send_alert) if synchronous else asend_alert
    assert (await send({"message": "hello"}, people.alice.pk)).stored is True
    assert (await Alert.objects.aget()).sent_at is not None
    assert (await abroadcast_market_data("AAPL", {"price": 1.0})).stored is None
