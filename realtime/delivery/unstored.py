"""Alerts that are on their streams but in no inbox, since the database did not take them in time.

The sender notes the id of such an alert in Redis, and the alert engine reads the alert from its
stream and stores it when the database is back.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Final

from redis.exceptions import RedisError

from realtime.delivery.layers import RedisStreamLayer, StreamLayer
from realtime.delivery.publisher import BackendUnavailable
from realtime.streams import Stream

# Beyond this number the oldest notes are forgotten, ...
MOST: Final = 100_000
# ... and all of them when none has been added for so many seconds.
KEPT_SECONDS: Final = 7 * 86_400

Entry = tuple[Stream, str]  # the last item is the alert's id


def note(layer: RedisStreamLayer, entries: Iterable[Entry]) -> None:
    """Note alerts, from synchronous code; raises BackendUnavailable."""
    now, key = time.time(), _key(layer.prefix)
    try:
        with layer.sync_client.pipeline(transaction=False) as pipeline:
            pipeline.zadd(key, {f"{stream.group} {uid}": now for stream, uid in entries})
            pipeline.zremrangebyrank(key, 0, -MOST - 1)
            pipeline.expire(key, KEPT_SECONDS)
            pipeline.execute()
    except (RedisError, OSError) as exc:
        raise BackendUnavailable(exc) from exc


async def noted(layer: StreamLayer, most: int) -> dict[bytes, Entry]:
    """The oldest notes; raises BackendUnavailable."""
    found = {}
    for member in await layer.execute("ZRANGE", _key(layer.prefix), 0, most - 1) or ():
        group, _, uid = member.decode().rpartition(" ")
        stream = Stream.from_group(group)
        if stream is not None:
            found[member] = (stream, uid)
    return found


async def forget(layer: StreamLayer, members: Sequence[bytes]) -> None:
    """Remove notes; raises BackendUnavailable."""
    await layer.execute("ZREM", _key(layer.prefix), *members)


def _key(prefix: str) -> str:
    return f"{prefix}:alerts-unstored"
