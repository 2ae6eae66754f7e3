"""Alerts that are on their streams and in no inbox: the database did not take them in time.

Who sent one notes its id in Redis, and whoever runs the alert rules stores it when the database is
back. The alert itself is read from its stream.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from redis.exceptions import RedisError

from realtime.delivery.publisher import BackendUnavailable
from realtime.streams import Stream

# The oldest ones are forgotten beyond that, ...
MOST: Final = 100_000
# ... and all of them when none has come for so many seconds.
KEPT_SECONDS: Final = 7 * 86_400

Entry = tuple[Stream, str]  # and the alert's id


def note(layer: Any, entries: Iterable[Entry]) -> bool:
    """For synchronous code: False if this layer keeps no notes. Raises BackendUnavailable."""
    client = getattr(layer, "sync_client", None)
    if client is None:
        return False
    now, key = time.time(), _key(layer.prefix)
    try:
        with client.pipeline(transaction=False) as pipeline:
            pipeline.zadd(key, {f"{stream.group} {uid}": now for stream, uid in entries})
            pipeline.zremrangebyrank(key, 0, -MOST - 1)
            pipeline.expire(key, KEPT_SECONDS)
            pipeline.execute()
    except (RedisError, OSError) as exc:
        raise BackendUnavailable(exc) from exc
    return True


async def noted(layer: Any, most: int) -> dict[bytes, Entry]:
    """The oldest notes; raises BackendUnavailable. `layer` is the part of one event loop."""
    links = getattr(layer, "links", None)
    if not links:
        return {}
    try:
        members = await links[0].redis.zrange(_key(layer.names.prefix), 0, most - 1)
    except (RedisError, OSError) as exc:
        raise BackendUnavailable(exc) from exc
    found = {}
    for member in members:
        group, _, uid = member.decode().rpartition(" ")
        stream = Stream.from_group(group)
        if stream is not None:
            found[member] = (stream, uid)
    return found


async def forget(layer: Any, members: Sequence[bytes]) -> None:
    """Raises BackendUnavailable."""
    try:
        await layer.links[0].redis.zrem(_key(layer.names.prefix), *members)
    except (RedisError, OSError) as exc:
        raise BackendUnavailable(exc) from exc


def _key(prefix: str) -> str:
    return f"{prefix}:alerts-unstored"
