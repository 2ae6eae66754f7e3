"""How often an address may try a password.

A try is counted before anything is hashed, whatever comes of it: tries at the same time count too,
and a flood of them does not cost a flood of hashes.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError

from realtime.access.addresses import client_address
from realtime.delivery.layers import shared_layer
from realtime.limits.policy import WINDOW_SECONDS
from realtime.limits.scripts import COUNT

logger = logging.getLogger(__name__)


def count_login(meta: Mapping[str, Any]) -> int:
    """Count a try by the META of its request: 0, or the seconds until there may be another one.

    Over all processes, with Redis; while it is away each process counts for itself.
    """
    limit: int = settings.REALTIME_LOGINS_PER_IP_PER_MINUTE
    forwarded = str(meta.get("HTTP_X_FORWARDED_FOR", "")).encode("latin-1", "replace")
    address = client_address(
        (meta.get("REMOTE_ADDR") or "", 0), [(b"x-forwarded-for", forwarded)] if forwarded else []
    )
    if not limit or address is None:
        return 0
    wait = count_in_minute(f"logins:{address}", limit)
    if wait:
        logger.warning(
            "more than %d logins a minute from %s; if that is a proxy of yours, name it in "
            "REALTIME_TRUSTED_PROXIES",
            limit,
            address,
        )
    return wait


def count_in_minute(name: str, limit: int) -> int:
    """Count an event: 0, or the seconds until there may be another one."""
    return math.ceil(_count(name, limit))


def _count(name: str, limit: int) -> float:
    layer = shared_layer()
    if layer is not None:
        key = f"{layer.prefix}:count:{name}"
        try:
            return (
                float(layer.sync_client.eval(COUNT, 1, key, limit, int(WINDOW_SECONDS * 1000)))
                / 1000
            )
        except (RedisError, OSError) as exc:
            logger.warning("%s: counted by this process alone: %s", name.partition(":")[0], exc)
    cache.add(name, 0, WINDOW_SECONDS)
    return WINDOW_SECONDS if cache.incr(name) > limit else 0.0
