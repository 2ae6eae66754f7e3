"""Rules in the database: made, changed, deleted by their owners, read by engines.

Whoever changes a rule does it here: the revision grows, and engines hear of it when the
transaction commits.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from realtime.access.identity import Identity
from realtime.alerts.rules import Definition, InvalidRule, parse_rule
from realtime.alerts.state import Rule
from realtime.delivery.publisher import BackendUnavailable
from realtime.models import AlertRule
from realtime.scopes import matches

logger = logging.getLogger(__name__)

# The channel-layer group in which engines hear that rules have changed.
GROUP: Final = "alert-rules"
CHANGED: Final = "rules.changed"


class TooManyRules(Exception):
    """Raised when a user would have more rules than REALTIME_ALERT_RULES_PER_USER."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"you may have {self.limit} alert rules; delete some that are not in use"


def definition_of(row: AlertRule) -> Definition:
    """The definition as it was checked, with the row's name and pause."""
    return parse_rule({**row.definition, "name": row.name, "paused": row.paused})


def rule_of(row: AlertRule) -> Rule:
    """What an engine evaluates; raises InvalidRule for a row that was written by other means."""
    since = int(row.changed_at.timestamp() * 1000)
    return Rule(row.pk, row.revision, row.owner_id, definition_of(row), since)


def fill(row: AlertRule, definition: Definition) -> AlertRule:
    """Give a row a definition; the caller saves by `save_rule`."""
    data = definition.as_data()
    row.name = definition.name
    row.paused = definition.paused
    row.severity = definition.severity
    row.definition = {name: data[name] for name in data if name not in ("name", "paused")}
    return row


def save_rule(row: AlertRule) -> AlertRule:
    """Insert or change a rule; engines follow when the transaction commits."""
    with transaction.atomic():
        if row.pk is not None:
            current = AlertRule.objects.select_for_update().filter(pk=row.pk)
            row.revision = (current.values_list("revision", flat=True).first() or 0) + 1
        row.changed_at = timezone.now()
        row.save()
        transaction.on_commit(announce)
    return row


def delete_rules(rows: Sequence[AlertRule]) -> None:
    with transaction.atomic():
        AlertRule.objects.filter(pk__in=[row.pk for row in rows]).delete()
        transaction.on_commit(announce)


def announce() -> None:
    """Tell engines to look at once; those that do not hear it look a moment later anyway."""
    layer: Any = get_channel_layer()
    send = getattr(type(layer), "group_send_sync", None)
    if send is None:
        return
    try:
        send(layer, GROUP, {"type": CHANGED})
    except BackendUnavailable as exc:
        logger.warning("a change of alert rules was not announced: %s", exc)


def check_allowed(definition: Definition, identity: Identity, row: AlertRule | None = None) -> None:
    """Raise InvalidRule for symbols that the credential may not read, TooManyRules at the limit."""
    for channel in sorted(definition.channels):
        patterns = identity.symbols.get(channel)
        for index, symbol in enumerate(definition.symbols):
            if patterns is not None and not matches(patterns, symbol):
                what = f"{channel} of {symbol}"
                raise InvalidRule(f"symbols[{index}]", f"your credential does not allow {what}")
    if row is None:
        check_room(identity.user_id, 1)


def check_room(owner_id: int | None, more: int) -> None:
    limit: int = settings.REALTIME_ALERT_RULES_PER_USER
    if AlertRule.objects.filter(owner_id=owner_id).count() + more > limit:
        raise TooManyRules(limit)
