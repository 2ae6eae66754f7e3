"""The limit on alerts of rules for one user in a minute of the clock.

Alerts beyond REALTIME_ALERTS_PER_USER_PER_MINUTE are neither stored nor sent; the user is told
once in that minute.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Count, Q

from realtime import protocol
from realtime.alerts.firing import Draft
from realtime.conf import conf
from realtime.models import Alert

logger = logging.getLogger(__name__)


def within_limit(drafts: Sequence[Draft], now: datetime) -> tuple[list[Draft], list[Alert]]:
    """The drafts within the limit, and notices for owners who have not received one yet."""
    limit: int = conf.REALTIME_ALERTS_PER_USER_PER_MINUTE
    if not limit:
        return list(drafts), []
    minute = now.replace(second=0, microsecond=0)
    stored = _stored({each.owner_id for each in drafts}, minute)
    kept, over = [], set()
    for each in drafts:
        if stored[each.owner_id] < limit:
            stored[each.owner_id] += 1
            kept.append(each)
        else:
            over.add(each.owner_id)
    return kept, [alert for owner in over for alert in _notice(owner, limit, minute, now)]


def _stored(owners: Collection[Hashable], since: datetime) -> Counter[Hashable]:
    theirs = Q(owner__in=[owner for owner in owners if owner is not None])
    if None in owners:
        theirs |= Q(owner=None)
    alerts = Alert.objects.filter(theirs, created_at__gte=since).order_by()
    return Counter(dict(alerts.values_list("owner").annotate(Count("pk"))))


def _notice(owner: Any, limit: int, minute: datetime, now: datetime) -> list[Alert]:
    text = f"limit {owner} {minute.isoformat()}"
    uid = hashlib.sha256(text.encode()).hexdigest()[:32]
    if Alert.objects.filter(uid=uid).exists():
        return []
    until = protocol.timestamp(minute + timedelta(minutes=1))
    data = {
        "type": "alert_limit",
        "message": f"More than {limit} alerts in this minute: rules fire again from {until}",
        "severity": "high",
        "limit": limit,
        "until": until,
        "timestamp": protocol.timestamp(now),
    }
    whose = "for everybody" if owner is None else f"of user {owner}"
    told = "the alert rules %s fire more than %d alerts a minute: left out until %s"
    transaction.on_commit(partial(logger.warning, told, whose, limit, until))
    return [Alert(uid=uid, owner_id=owner, severity="high", data=data, created_at=now)]
