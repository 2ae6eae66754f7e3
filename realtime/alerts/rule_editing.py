"""Rules in the database: created, changed and deleted by their owners, read by engines.

Every change of a rule goes through this module: its revision grows, and engines are notified when
the transaction commits.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

from channels.layers import get_channel_layer
from django.db import transaction
from django.utils import timezone

from realtime.access.identity import Identity
from realtime.alerts.rights import check_readable
from realtime.alerts.rule_state import Rule
from realtime.alerts.rules import Definition, InvalidRule, parse_rule
from realtime.conf import conf
from realtime.delivery.layers import group_send_sync
from realtime.delivery.publisher import BackendUnavailable
from realtime.models import AlertProblem, AlertRule, Destination, WebhookEndpoint
from realtime.users import one_at_a_time

logger = logging.getLogger(__name__)

# The channel-layer group that notifies engines of changed rules.
RULES_GROUP: Final = "alert-rules"
RULES_CHANGED: Final = "rules.changed"


class TooManyRules(Exception):
    """Raised when a user would have more rules than REALTIME_ALERT_RULES_PER_USER."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"you may have {self.limit} alert rules; delete some that are not in use"


def definition_of(row: AlertRule) -> Definition:
    """The checked definition, with the row's name and `paused`.

    Raises InvalidRule for a row that was written by other means.
    """
    if not isinstance(row.definition, dict):
        raise InvalidRule("", "a rule is a JSON object")
    return parse_rule({**row.definition, "name": row.name, "paused": row.paused})


def rule_of(row: AlertRule) -> Rule:
    """The rule for engines; raises InvalidRule for a row that was written by other means."""
    since = int(row.changed_at.timestamp() * 1000)
    return Rule(row.pk, row.revision, row.owner_id, definition_of(row), since)


def fill(row: AlertRule, definition: Definition, key_id: int | None = None) -> AlertRule:
    """Set the definition of a row, by a key or without; the caller saves with `save_rule`."""
    row.key_id = key_id
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
            AlertProblem.objects.filter(rule_id=row.pk).delete()
        row.changed_at = timezone.now()
        row.save()
        transaction.on_commit(announce)
    return row


def delete_rules(rows: Sequence[AlertRule]) -> None:
    with transaction.atomic():
        AlertRule.objects.filter(pk__in=[row.pk for row in rows]).delete()
        transaction.on_commit(announce)


def replace_rules(
    identity: Identity, wanted: Sequence[tuple[int | None, Definition]]
) -> list[AlertRule]:
    """Replace the rules that the user has sent over sockets by these; other rules stay.

    An existing rule, found by id or else by name, is changed; an identical rule is left as it is,
    with its state. Raises InvalidRule (`[2].symbols…`) and TooManyRules.
    """
    for index, (_, definition) in enumerate(wanted):
        try:
            check_allowed(definition, identity)
        except InvalidRule as exc:
            raise InvalidRule(f"[{index}].{exc.field}", exc.reason) from None
    with one_at_a_time(identity.user_id):
        owned = AlertRule.objects.select_for_update().filter(
            owner_id=identity.user_id, source=AlertRule.Source.SOCKET
        )
        held = {row.pk: row for row in owned}
        check_room(identity.user_id, len(wanted) - len(held))
        rows = [
            _changed(_same(held, id, definition), definition, identity) for id, definition in wanted
        ]
        if held:
            delete_rules(list(held.values()))
    return rows


def _same(held: dict[int, AlertRule], id: int | None, definition: Definition) -> AlertRule | None:
    """The stored rule that this one replaces, taken out of `held`."""
    if id in held:
        return held.pop(id)
    named = [row for row in held.values() if row.name == definition.name]
    equal = [row for row in named if _says(row, definition)]
    for row in (*equal, *named):
        return held.pop(row.pk)
    return None


def _says(row: AlertRule, definition: Definition) -> bool:
    try:
        return definition_of(row) == definition
    except InvalidRule:
        return False


def _changed(row: AlertRule | None, definition: Definition, identity: Identity) -> AlertRule:
    if row is None:
        row = AlertRule(owner_id=identity.user_id, source=AlertRule.Source.SOCKET)
    elif _says(row, definition):
        if row.key_id != identity.key_id:
            row.key_id = identity.key_id
            row.save(update_fields=["key"])
        return row
    return save_rule(fill(row, definition, identity.key_id))


def announce() -> None:
    """Tell engines to read the rules at once; engines that miss this poll a moment later."""
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        group_send_sync(layer, RULES_GROUP, {"type": RULES_CHANGED})
    except BackendUnavailable as exc:
        logger.warning("a change of alert rules was not announced: %s", exc)


def check_allowed(definition: Definition, identity: Identity) -> None:
    """Raise InvalidRule for what the credential may not read, or what is not the user's."""
    check_readable(definition, identity)
    endpoint = definition.escalate_to
    mine = WebhookEndpoint.objects.filter(owner_id=identity.user_id)
    if endpoint is not None and not mine.filter(pk=endpoint).exists():
        raise InvalidRule("escalate_to", "must be one of your webhook endpoints")
    check_destinations(definition, identity.user_id)


def check_destinations(definition: Definition, owner_id: Any) -> None:
    """Raise InvalidRule for a destination that is not the owner's."""
    if not definition.destinations:
        return
    if owner_id is None:
        raise InvalidRule("destinations", "a rule for everybody has none: it needs an owner")
    own = Destination.objects.filter(owner_id=owner_id, pk__in=definition.destinations)
    unknown = set(definition.destinations) - set(own.values_list("pk", flat=True))
    if unknown:
        names = ", ".join(map(str, sorted(unknown)))
        raise InvalidRule("destinations", f"{names}: the owner of the rule has no such destination")


def check_room(owner_id: Any, more: int) -> None:
    """Raise TooManyRules if the user may not have that many more; call within `one_at_a_time`."""
    limit: int = conf.REALTIME_ALERT_RULES_PER_USER
    if more > 0 and AlertRule.objects.filter(owner_id=owner_id).count() + more > limit:
        raise TooManyRules(limit)
