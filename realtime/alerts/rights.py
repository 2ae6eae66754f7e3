"""The channels that a rule may read for its owner, checked when it is made and when it fires.

A rule has the rights of the credential that created or last changed it. A rule made by a user reads
whatever this user may read. A rule made with an API key reads what the key may read at this moment:
nothing once the key is revoked, expired or deleted. A rule without an owner belongs to the
operators, and is for everybody.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from realtime.access.identity import Identity, identity_of_key
from realtime.access.user_access import Access, UserAccessFailed, recent_access_of
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
    """`rule` comes from `with_rights`; `channels` are those whose numbers the alert contains."""
    if rule.owner is None:
        return True
    if not rule.owner.is_active:
        return False
    try:
        reader = _reader(rule, now)
    except UserAccessFailed:
        return False
    return (
        reader is not None
        and reader.allows("alerts")
        and all(reader.allows(name, symbol) for name in channels)
    )


def _reader(rule: AlertRule, now: datetime) -> Access | Identity | None:
    """Whose rights count: the owner's or the key's; None for a key that is not accepted."""
    access = recent_access_of(rule.owner)
    if rule.key_id is None:
        return access
    if rule.key is None or rule.key.status_at(now) != ApiKey.Status.ACTIVE:
        return None
    return identity_of_key(rule.key, rule.key.hash, access)


def with_rights(ids: Collection[int]) -> Iterable[AlertRule]:
    """Those of these rules that still exist, with the relations that `may_fire` reads."""
    rules = AlertRule.objects.filter(pk__in=ids).select_related("owner", "key")
    return rules.defer("definition").order_by()
