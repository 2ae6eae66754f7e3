"""Stored alerts onto their streams, each once.

An alert that was stored by this process a moment ago is sent at once. One whose sending may have
been cut short (by a crash, or by Redis) is looked for in its stream first.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from realtime.alerts import store
from realtime.alerts.database import in_database
from realtime.broadcast import (
    Broadcast,
    InvalidUpdate,
    PublishFailed,
    abroadcast_many,
    alert_update,
)
from realtime.models import Alert
from realtime.streams import ALERTS_ALL, Stream, user_alerts

# Seconds after which an alert that somebody has stored and not sent is anybody's to send.
PATIENCE: Final = 3.0


async def send(alerts: Sequence[Alert]) -> list[str]:
    """Publish alerts that nobody can have published yet; the uids of those that are.

    Those that were not confirmed stay unsent in the database: `resend` looks after them.
    """
    broadcasts = [_broadcast(alert) for alert in alerts]
    try:
        await abroadcast_many(broadcasts)
    except PublishFailed as exc:
        return [alerts[index].uid for index in exc.published]
    return [alert.uid for alert in alerts]


async def resend(layer: Any, *, patience: float = PATIENCE) -> int:
    """Send what was left behind; how many. Raises BackendUnavailable and DatabaseError."""
    before = timezone.now() - timedelta(seconds=patience)
    alerts = await in_database(store.unsent)(before)
    if not alerts:
        return 0
    there: set[str] = set()
    for stream in {_stream(alert) for alert in alerts}:
        page = await layer.read_newest(stream, settings.REALTIME_HISTORY_LENGTH["alerts"])
        there.update(update.alert_id for update in page.updates)
    sent = await send([alert for alert in alerts if alert.uid not in there])
    done = [alert.uid for alert in alerts if alert.uid in there] + sent
    await in_database(store.mark_sent)(done)
    return len(sent)


def _broadcast(alert: Alert) -> Broadcast:
    try:
        return alert_update(alert.data, alert.owner_id, id=alert.uid, stored=True)
    except InvalidUpdate:  # REALTIME_MAX_MESSAGE_BYTES is smaller now
        data = {"message": str(alert), "symbol": alert.symbol, "severity": alert.severity}
        return alert_update(data, alert.owner_id, id=alert.uid, stored=True)


def _stream(alert: Alert) -> Stream:
    return ALERTS_ALL if alert.owner_id is None else user_alerts(alert.owner_id)
