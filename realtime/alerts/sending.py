"""Publishes stored alerts on their streams, each one once.

An alert that this process has just stored is published at once. An alert whose publication may have
been interrupted (by a crash, or by Redis) is first looked up in its stream.
"""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Final

from django.utils import timezone
from django.utils.module_loading import import_string

from realtime.alerts import progress
from realtime.aside import set_aside
from realtime.broadcast import (
    Broadcast,
    InvalidUpdate,
    PublishFailed,
    abroadcast_many,
    alert_update,
)
from realtime.conf import conf
from realtime.db import OUTAGES, shared_thread
from realtime.delivery import unstored
from realtime.delivery.layers import StreamLayer
from realtime.models import Alert
from realtime.streams import ALERTS_ALL, Stream, user_alerts

# Seconds after which any engine may send an alert that is stored but unsent.
PATIENCE: Final = 3.0
# Most alerts that one transaction stores late.
_LATE_AT_ONCE: Final = 300
# Characters that are kept of a message that exceeds the current REALTIME_MAX_MESSAGE_BYTES.
_SHORTENED: Final = 500

logger = logging.getLogger(__name__)


async def send(alerts: Sequence[Alert]) -> list[str]:
    """Publish alerts that no process can have published yet; returns the uids of those published.

    Alerts without a confirmation stay unsent in the database, for `resend`. An alert that cannot be
    sent at all is logged and counts as sent, since a retry would not help.
    """
    broadcasts: list[Broadcast] = []
    uids: list[str] = []
    dropped: list[str] = []
    for alert in alerts:
        with set_aside(f"alert {alert.uid}", partial(dropped.append, alert.uid)):
            broadcasts.append(_broadcast(alert))
            uids.append(alert.uid)
    try:
        await abroadcast_many(broadcasts)
    except PublishFailed as exc:
        uids = [uids[index] for index in exc.published]
    return dropped + uids


async def resend(
    layer: StreamLayer, *, patience: float = PATIENCE, published: float | None = None
) -> int:
    """Send alerts left behind; returns how many. Raises BackendUnavailable and DatabaseError.

    `published`: how long to wait for publishers that may still be about to send their alerts.
    """
    now = timezone.now()
    before = now - timedelta(seconds=patience)
    published_before = now - timedelta(seconds=patience if published is None else published)
    alerts = await shared_thread.run(progress.unsent)(before, published_before)
    if not alerts:
        return 0
    there: set[str] = set()
    for stream in {_stream(alert) for alert in alerts}:
        page = await layer.read_newest(stream, conf.REALTIME_HISTORY_LENGTH["alerts"])
        there.update(update.alert_id for update in page.updates)
    sent = await send([alert for alert in alerts if alert.uid not in there])
    done = [alert.uid for alert in alerts if alert.uid in there] + sent
    await shared_thread.run(progress.mark_sent)(done)
    return len(sent)


async def store_late(layer: StreamLayer) -> int:
    """Store alerts that were published while the database was away; returns how many.

    Raises BackendUnavailable and DatabaseError; then all of them are tried again later.
    """
    noted = await unstored.noted(layer, _LATE_AT_ONCE)
    if not noted:
        return 0
    wanted = [uid for _, uid in noted.values()]
    missing = set(wanted) - await shared_thread.run(progress.known)(wanted)
    found = {}
    for stream in {stream for stream, uid in noted.values() if uid in missing}:
        page = await layer.read_newest(stream, conf.REALTIME_HISTORY_LENGTH["alerts"])
        for update in page.updates:
            if update.alert_id in missing:
                found[update.alert_id] = Broadcast(stream, update.body, update.alert_id)
    await shared_thread.run(_store_late)(list(found.values()))
    if lost := missing - found.keys():
        logger.warning("%d alerts were never stored: no stream holds them any longer", len(lost))
    await unstored.forget(layer, list(noted))
    return len(found)


def _store_late(updates: Sequence[Broadcast]) -> None:
    """Store all at once or, if that fails, one by one: one bad alert does not affect others."""
    if not updates or not conf.REALTIME_ALERT_STORE:
        return
    try:
        settle = import_string(conf.REALTIME_ALERT_STORE)(updates)
        if settle is not None:
            settle([])
    except OUTAGES:
        raise
    except Exception as exc:
        if len(updates) == 1:
            logger.error("alert %s cannot be stored: %s", updates[0].alert_id, exc)
        else:
            for update in updates:
                _store_late([update])


def _broadcast(alert: Alert) -> Broadcast:
    try:
        return alert_update(alert.data, alert.owner_id, id=alert.uid, stored=True)
    except InvalidUpdate:  # REALTIME_MAX_MESSAGE_BYTES is smaller now
        data = {"message": str(alert)[:_SHORTENED], "symbol": alert.symbol}
        if alert.severity:
            data["severity"] = alert.severity
        return alert_update(data, alert.owner_id, id=alert.uid, stored=True)


def _stream(alert: Alert) -> Stream:
    return ALERTS_ALL if alert.owner_id is None else user_alerts(alert.owner_id)
