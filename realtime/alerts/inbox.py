"""The inbox: every alert is stored before it is sent, until its reader has acknowledged it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from realtime.broadcast import Broadcast
from realtime.models import Alert, AlertAcknowledgement, WebhookEndpoint
from realtime.protocol import SEVERITIES, update_data
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.webhooks.events import emit, emit_to

# Unacknowledged alerts that a socket gets when it connects.
MAX_REPLAYED: Final = 300
# Rows that one statement reads, writes or deletes.
_BATCH: Final = 300


def store(updates: Sequence[Broadcast]) -> Callable[[Sequence[Broadcast]], object]:
    """Store alerts that are about to be sent; see REALTIME_ALERT_STORE.

    Returns what takes back those that could not be sent. One for a user that does not exist is
    nobody's, and is not stored.
    """
    rows = [_row(update) for update in updates if update.alert_id is not None]
    owners = {row.owner_id for row in rows if row.owner_id is not None}
    with transaction.atomic():
        users = get_user_model()._default_manager.filter(pk__in=owners)
        known = {None, *(users.values_list("pk", flat=True) if owners else ())}
        stored = Alert.objects.bulk_create([row for row in rows if row.owner_id in known], _BATCH)
        if WebhookEndpoint.objects.filter(enabled=True).exists():
            for row in stored:
                data = {"id": row.uid, **row.data}
                emit("alert_triggered", data, symbol=row.symbol or None, user_id=row.owner_id)
    return take_back


def take_back(updates: Sequence[Broadcast]) -> None:
    Alert.objects.filter(uid__in=[update.alert_id for update in updates]).delete()


def _row(update: Broadcast) -> Alert:
    data = update_data(update.body)
    now = timezone.now()
    severity = data.get("severity")
    return Alert(
        uid=update.alert_id or "",
        owner_id=update.stream.user_id,
        symbol=_symbol(data.get("symbol")),
        severity=severity if severity in SEVERITIES else "",
        data=data,
        created_at=now,
        # Whoever asked for it hears of a failure and decides: it is not sent again from here.
        sent_at=now,
    )


def _symbol(value: object) -> str:
    try:
        return parse_symbol(value)
    except InvalidSymbol:
        return ""


def waiting(user: Any) -> list[Alert]:
    """The newest MAX_REPLAYED alerts that this user has not acknowledged, oldest first."""
    alerts = Alert.objects.get_queryset().visible_to(user).unacknowledged(user)
    newest = alerts.order_by("-created_at", "-id")
    return list(newest[:MAX_REPLAYED])[::-1]


def acknowledge(user: Any, uids: Sequence[str]) -> list[str]:
    """Note that a user has seen alerts; those of `uids` that are this user's, in their order."""
    found: dict[str, int] = {}
    uids = [uid for uid in uids if "\x00" not in uid]  # PostgreSQL cannot even be asked
    for begin in range(0, len(uids), _BATCH):
        alerts = Alert.objects.get_queryset().visible_to(user)
        part = alerts.filter(uid__in=uids[begin : begin + _BATCH])
        found.update(part.values_list("uid", "pk"))
    AlertAcknowledgement.objects.bulk_create(
        [AlertAcknowledgement(alert_id=pk, user_id=user.pk) for pk in found.values()],
        _BATCH,
        ignore_conflicts=True,
    )
    return [uid for uid in dict.fromkeys(uids) if uid in found]


def escalate() -> int:
    """Tell the webhooks of alerts that nobody has acknowledged in time; how many were due.

    Any number of processes may ask at once: each alert is taken by one of them, in the transaction
    that writes its delivery.
    """
    now = timezone.now()
    due = Alert.objects.filter(escalate_at__lte=now, escalated_at=None).order_by("escalate_at")
    alerts = list(due[:_BATCH])
    for alert in alerts:
        with transaction.atomic():
            mine = Alert.objects.filter(pk=alert.pk, escalated_at=None).update(escalated_at=now)
            seen = AlertAcknowledgement.objects.filter(alert=alert).exists()
            if mine and not seen and alert.escalate_to_id is not None:
                data = {"id": alert.uid, **alert.data, "escalated": True}
                symbol = alert.symbol or None
                emit_to(alert.escalate_to_id, "alert_triggered", data, symbol=symbol)
    return len(alerts)


def prune() -> int:
    """Delete alerts that are older than REALTIME_ALERT_DAYS, some at a time; how many."""
    before = timezone.now() - timedelta(days=settings.REALTIME_ALERT_DAYS)
    old = Alert.objects.filter(created_at__lt=before).order_by("created_at")
    ids = list(old.values_list("pk", flat=True)[:_BATCH])
    Alert.objects.filter(pk__in=ids).delete()
    return len(ids)
