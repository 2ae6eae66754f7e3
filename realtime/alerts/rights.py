"""The channels that a rule may read for its owner, checked when it is made and when it fires.

A rule reads as the credential by which it was made or changed last. That of a user reads whatever
users may read; that of a key what the key may read at this moment, so a key that is revoked, has
expired or was deleted reads nothing. One without an owner is an operator's, for everybody.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from realtime.access.identity import Identity, identity_of_key
from realtime.alerts.rules import Definition, InvalidRule
from realtime.models import AlertRule, ApiKey


def check_readable(definition: Definition, identity: Identity) -> None:
    """Raise InvalidRule for a channel or symbol that the credential may not read."""
    for channel in sorted(definition.channels):
        if not identity.allows(channel):
            reason = f"read {channel}, and your credential lacks that scope"
            raise InvalidRule("conditions", reason)
        for index, symbol in enumerate(definition.symbols):
            if not identity.allows(channel, symbol):
                what = f"{channel} of {symbol}"
                raise InvalidRule(f"symbols[{index}]", f"your credential does not allow {what}")


def may_fire(rule: AlertRule, symbol: str, channels: Iterable[str], now: datetime) -> bool:
    """`rule` is one of `with_rights`; `channels` are those whose numbers the alert tells."""
    if rule.owner is None:
        return True
    if not rule.owner.is_active:
        return False
    if rule.key_id is None:
        return True
    if rule.key is None or rule.key.status_at(now) != ApiKey.Status.ACTIVE:
        return False
    identity = identity_of_key(rule.key, rule.key.hash)
    return identity.allows("alerts") and all(identity.allows(name, symbol) for name in channels)


def with_rights(ids: Collection[int]) -> Iterable[AlertRule]:
    """These rules, as far as they are there, with what `may_fire` asks for."""
    rules = AlertRule.objects.filter(pk__in=ids).select_related("owner", "key")
    return rules.defer("definition").order_by()
