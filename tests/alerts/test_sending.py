"""From the database onto the streams, each alert once; and to webhooks."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import DataError
from django.utils import timezone

from realtime.alerts import inbox
from realtime.alerts.sending import resend, send, store_late
from realtime.broadcast import Broadcast, alert_update, asend_alert
from realtime.delivery import unstored
from realtime.models import Alert, WebhookDelivery, WebhookEndpoint
from realtime.protocol import update_time
from realtime.streams import user_alerts
from realtime.webhooks.queue import claim

pytestmark = pytest.mark.django_db(transaction=True)


@database_sync_to_async
def stored(people: SimpleNamespace, uid: str, **fields: Any) -> Alert:
    data = {"message": uid}
    return Alert.objects.create(uid=uid, owner=people.alice, data=data, symbol="AAPL", **fields)


@database_sync_to_async
def endpoint(people: SimpleNamespace) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create_endpoint(people.alice, "https://example.com/hook")[0]


async def on_stream(people: SimpleNamespace) -> list[str]:
    layer: Any = get_channel_layer()
    layer = getattr(layer, "loop_layer", layer)
    page = await layer.read_newest(user_alerts(people.alice.pk), 100)
    return [update.alert_id for update in page.updates]


async def again(**arguments: Any) -> int:
    layer: Any = get_channel_layer()
    return await resend(getattr(layer, "loop_layer", layer), **arguments)


async def test_what_was_stored_and_never_sent_is_sent(
    each_layer: str, people: SimpleNamespace
) -> None:
    await stored(people, "left")
    assert await again(patience=0) == 1
    assert await on_stream(people) == ["left"]
    assert await again(patience=0) == 0


async def test_what_was_sent_and_not_marked_is_not_sent_again(
    each_layer: str, people: SimpleNamespace
) -> None:
    alert = await stored(people, "sent")
    assert await send([alert]) == ["sent"]
    assert await again(patience=0) == 0
    assert await on_stream(people) == ["sent"]
    assert not await Alert.objects.filter(sent_at=None).aexists()


async def test_what_another_engine_has_just_stored_is_left_to_it(
    each_layer: str, people: SimpleNamespace
) -> None:
    await stored(people, "fresh")
    assert await again() == 0


async def test_an_alert_is_written_for_webhooks_with_its_row(
    each_layer: str, people: SimpleNamespace
) -> None:
    await endpoint(people)
    await asend_alert({"message": "hello", "symbol": "AAPL"}, user_id=people.alice.pk)
    delivery = await WebhookDelivery.objects.aget()
    assert (delivery.event, delivery.symbol) == ("alert_triggered", "AAPL")


async def test_no_webhook_tells_of_an_alert_before_it_was_sent(people: SimpleNamespace) -> None:
    await endpoint(people)
    updates = [alert_update({"message": "hello"}, people.alice.pk)]
    settle = await database_sync_to_async(inbox.store)(updates)
    assert await database_sync_to_async(claim)(10) == []
    await database_sync_to_async(settle)([])
    assert len(await database_sync_to_async(claim)(10)) == 1


async def test_the_webhook_of_an_alert_is_due_when_its_publisher_was_killed(
    people: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await endpoint(people)
    monkeypatch.setattr(inbox, "PUBLISHING_SECONDS", 0.0)
    await database_sync_to_async(inbox.store)([alert_update({"message": "hello"})])
    assert len(await database_sync_to_async(claim)(10)) == 1


async def test_what_an_engine_has_sent_meanwhile_is_not_taken_back(
    each_layer: str, people: SimpleNamespace
) -> None:
    update = alert_update({"message": "slow"}, people.alice.pk)
    take_back = await database_sync_to_async(inbox.store)([update])
    assert await again(patience=0) == 1
    await database_sync_to_async(take_back)([update])
    assert await Alert.objects.aexists()


async def test_what_a_publisher_may_still_send_is_left_to_it(people: SimpleNamespace) -> None:
    await database_sync_to_async(inbox.store)([alert_update({"message": "slow"})])
    assert await again(patience=0, published=inbox.PUBLISHING_SECONDS) == 0


@pytest.mark.usefixtures("redis_layer")
async def test_what_was_sent_and_not_stored_is_stored_later_once(people: SimpleNamespace) -> None:
    await endpoint(people)
    update = alert_update({"message": "late"}, people.alice.pk)
    layer: Any = get_channel_layer()
    await layer.send_updates([(update.stream, update.body)])
    lost = alert_update({"message": "on no stream"})
    for each in (update, lost):
        unstored.note(layer, [(each.stream, str(each.alert_id))])
    assert await store_late(layer.loop_layer) == 1
    assert await store_late(layer.loop_layer) == 0
    alert = await Alert.objects.aget()
    assert (alert.uid, alert.sent_at is None) == (update.alert_id, False)
    assert alert.created_at == update_time(update.body)
    assert len(await database_sync_to_async(claim)(10)) == 1


@pytest.mark.usefixtures("redis_layer")
async def test_one_alert_that_no_database_takes_spoils_none_of_the_others(
    people: SimpleNamespace, settings: Any
) -> None:
    settings.REALTIME_ALERT_STORE = f"{__name__}.picky_store"
    layer: Any = get_channel_layer()
    for message in ("good", "bad", "also good"):
        update = alert_update({"message": message}, people.alice.pk)
        await layer.send_updates([(update.stream, update.body)])
        unstored.note(layer, [(update.stream, str(update.alert_id))])
    await store_late(layer.loop_layer)
    assert await Alert.objects.acount() == 2


def picky_store(updates: Sequence[Broadcast]) -> Any:
    if any(b'"bad"' in update.body for update in updates):
        raise DataError("cannot be stored")
    return inbox.store(updates)


async def test_an_alert_that_nobody_acknowledges_is_escalated_once(
    people: SimpleNamespace,
) -> None:
    hook = await endpoint(people)
    past = timezone.now() - timedelta(seconds=1)
    await stored(people, "late", escalate_to=hook, escalate_at=past)
    await asyncio.gather(*(database_sync_to_async(inbox.escalate)() for _ in range(3)))
    delivery = await WebhookDelivery.objects.aget()
    assert '"escalated":true' in delivery.body.replace(" ", "")


@pytest.mark.parametrize("seconds", [-1, 60])
async def test_an_alert_is_not_escalated_when_it_was_seen_or_is_not_due(
    people: SimpleNamespace, seconds: int
) -> None:
    hook = await endpoint(people)
    due = timezone.now() + timedelta(seconds=seconds)
    await stored(people, "seen", escalate_to=hook, escalate_at=due)
    if seconds < 0:
        await database_sync_to_async(inbox.acknowledge)(people.alice, ["seen"])
    await database_sync_to_async(inbox.escalate)()
    assert not await WebhookDelivery.objects.aexists()
