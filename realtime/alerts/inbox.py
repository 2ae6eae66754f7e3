"""The inbox: every alert is stored before it is sent, until its reader has acknowledged it."""

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import timedelta
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone

from realtime.broadcast import Broadcast
from realtime.conf import conf
from realtime.models import Alert, AlertAcknowledgement, WebhookDelivery, WebhookEndpoint
from realtime.protocol import SEVERITIES, update_data, update_time
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.users import user_id_of
from realtime.values import batches
from realtime.webhooks.events import emit, emit_to

logger = logging.getLogger(__name__)

# Unacknowledged alerts that a socket receives at most when it connects.
MAX_REPLAYED: Final = 300
# Rows that one statement reads, writes or deletes.
_BATCH: Final = 300
# Seconds that a publisher has for sending stored alerts; longer than it waits for Redis. After that
# it counts as dead: an engine sends its alerts, and their webhooks become due.
PUBLISHING_SECONDS: Final = 10.0


def store(updates: Sequence[Broadcast]) -> "Stored":
    """Store alerts that are about to be sent; see REALTIME_ALERT_STORE.

    Returns a callable for the time after sending; its arguments are the alerts that could not be
    sent. An alert for a user that does not exist is not stored.
    """
    try:
        return _store(updates)
    except IntegrityError:
        if not any(update.id for update in updates):
            raise
        return _store(updates)  # another process has just stored an alert of the same id


def _store(updates: Sequence[Broadcast]) -> "Stored":
    rows = list({row.uid: row for row in map(_row, updates) if row.uid}.values())
    owners = {row.owner_id for row in rows if row.owner_id is not None}
    deliveries: dict[str, list[int]] = {}
    with transaction.atomic():
        users = get_user_model()._default_manager.filter(pk__in=owners)
        found = users.values_list("pk", flat=True) if owners else ()
        known = {None, *map(user_id_of, found)}
        earlier = _stored_before(updates)
        stored = Alert.objects.bulk_create(
            [row for row in rows if row.owner_id in known and row.uid not in earlier], _BATCH
        )
        if WebhookEndpoint.objects.filter(enabled=True).exists():
            deliveries = {row.uid: _tell_webhooks(row) for row in stored}
    return Stored({row.uid for row in stored}, deliveries, earlier)


def _stored_before(updates: Sequence[Broadcast]) -> set[str]:
    """The repetitions among these alerts: they, and their webhooks, are stored already."""
    uids = [update.alert_id for update in updates if update.id and update.alert_id]
    rows = Alert.objects.order_by().values_list("uid", flat=True)
    return {uid for part in batches(uids, _BATCH) for uid in rows.filter(uid__in=part)}


def _tell_webhooks(row: Alert) -> list[int]:
    data = {"id": row.uid, **row.data}
    written = emit(
        "alert_triggered",
        data,
        symbol=row.symbol or None,
        user_id=row.owner_id,
        after=PUBLISHING_SECONDS,
    )
    return [delivery.pk for delivery in written]


class Stored:
    """The alerts being sent, `uids`. To be called afterwards with those that could not be sent.

    If the process is killed before that, an engine sends them (see `sending`), and their webhooks
    become due by time.
    """

    def __init__(
        self,
        new: Set[str],
        deliveries: Mapping[str, Sequence[int]],
        earlier: Set[str] = frozenset(),
    ) -> None:
        self.uids = new | earlier
        self._new = new
        self._deliveries = deliveries

    def __call__(self, unsent: Sequence[Broadcast]) -> None:
        gone = {update.alert_id for update in unsent}
        if gone:
            self._take_back(sorted(self._new & gone))
        sent = sorted(self.uids - gone)
        now = timezone.now()
        for part in batches(sent, _BATCH):
            Alert.objects.filter(uid__in=part, sent_at=None).update(sent_at=now)
        for pks in batches(self._deliveries_of(sent), _BATCH):
            waiting = WebhookDelivery.objects.filter(pk__in=pks, next_attempt_at__gt=now, tries=0)
            waiting.update(next_attempt_at=now)

    def _take_back(self, uids: Sequence[str]) -> None:
        with transaction.atomic():
            # Alerts that an engine has sent meanwhile stay.
            rows = Alert.objects.select_for_update().filter(sent_at=None)
            found = [
                row
                for part in batches(uids, _BATCH)
                for row in rows.filter(uid__in=part).only("uid")
            ]
            for pks in batches([row.pk for row in found], _BATCH):
                Alert.objects.filter(pk__in=pks).delete()
            for pks in batches(self._deliveries_of([row.uid for row in found]), _BATCH):
                pending = WebhookDelivery.objects.filter(pk__in=pks)
                pending.filter(status=WebhookDelivery.Status.PENDING).delete()

    def _deliveries_of(self, uids: Iterable[str]) -> list[int]:
        return [pk for uid in uids for pk in self._deliveries.get(uid, ())]


def _row(update: Broadcast) -> Alert:
    data = update_data(update.body)
    if b"\\u0000" in update.body:
        data = _without_nul(data)
    severity = data.get("severity")
    return Alert(
        uid=update.alert_id or "",
        owner_id=update.user_id,
        symbol=_symbol(data.get("symbol")),
        severity=severity if severity in SEVERITIES else "",
        data=data,
        # The alert's own time: it may have been sent before it could be stored.
        created_at=update_time(update.body),
    )


def _without_nul(value: object) -> Any:
    """PostgreSQL accepts no U+0000, neither in text nor in JSON."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(item) for name, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value


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
    """Mark alerts as seen by a user; returns those of `uids` that belong to this user, in order."""
    found: dict[str, int] = {}
    uids = [uid for uid in uids if "\x00" not in uid]  # PostgreSQL rejects the query
    alerts = Alert.objects.get_queryset().visible_to(user)
    for part in batches(uids, _BATCH):
        found.update(alerts.filter(uid__in=part).values_list("uid", "pk"))
    AlertAcknowledgement.objects.bulk_create(
        [AlertAcknowledgement(alert_id=pk, user_id=user.pk) for pk in found.values()],
        _BATCH,
        ignore_conflicts=True,
    )
    return [uid for uid in dict.fromkeys(uids) if uid in found]


def escalate() -> int:
    """Send overdue unacknowledged alerts to their webhooks; returns how many were due.

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
            if mine and not seen:
                _escalate(alert)
    return len(alerts)


def _escalate(alert: Alert) -> None:
    if alert.escalate_to_id is None:
        return
    try:
        data = {"id": alert.uid, **alert.data, "escalated": True}
        emit_to(alert.escalate_to_id, "alert_triggered", data, symbol=alert.symbol or None)
    except (TypeError, ValueError) as exc:  # not a JSON object, or too large
        logger.error("alert %s cannot be escalated: %s", alert.uid, exc)


def prune() -> int:
    """Delete a batch of alerts older than REALTIME_ALERT_DAYS; returns how many."""
    before = timezone.now() - timedelta(days=conf.REALTIME_ALERT_DAYS)
    old = Alert.objects.filter(created_at__lt=before).order_by("created_at")
    ids = list(old.values_list("pk", flat=True)[:_BATCH])
    Alert.objects.filter(pk__in=ids).delete()
    return len(ids)
