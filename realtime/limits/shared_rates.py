"""Rates over all processes: events per minute, and published updates per second."""

import logging
import math
import threading
import time
from typing import Final

from django.core.cache import cache
from redis.exceptions import RedisError

from realtime.delivery.layers import StreamLayer, current_layer, shared_layer

logger = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 60.0

# KEYS: a counter. ARGV: limit, ms of the window. Returns 0, or the ms until there is room.
_COUNT: Final = """\
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if count <= tonumber(ARGV[1]) then return 0 end
return math.max(1, redis.call('PTTL', KEYS[1]))
"""

# KEYS: the time until which a payer's past events are paid for (µs). ARGV: the cost of the new ones
# (µs). Returns 0, or the µs to wait if nothing was counted. `pace` does the same in Python.
_PACE: Final = """\
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local paid = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
local cost = tonumber(ARGV[1])
local wait = paid - now - math.max(0, 1000000 - cost)
if wait > 0 then return wait end
local ends = paid + cost
redis.call('SET', KEYS[1], string.format('%.0f', ends), 'PX', math.ceil((ends - now) / 1000) + 1)
return 0
"""


def count_in_minute(name: str, limit: int) -> int:
    """Count an event: 0, or the seconds until one is allowed.

    While Redis is away each process counts for itself.
    """
    return count_within(WINDOW_SECONDS, name, limit)


def count_within(seconds: float, name: str, limit: int) -> int:
    """The same within another time than a minute."""
    layer = shared_layer()
    if layer is not None:
        command = _count_command(layer.prefix, name, limit, seconds)
        try:
            return math.ceil(float(layer.sync_client.execute_command(*command)) / 1000)
        except (RedisError, OSError) as exc:
            logger.warning("%s: counted by this process alone: %s", name.partition(":")[0], exc)
    return math.ceil(_count_here(name, limit, seconds))


async def acount_in_minute(layer: StreamLayer, name: str, limit: int) -> float:
    """`count_in_minute` for asynchronous code; raises BackendUnavailable while Redis is away."""
    wait = await layer.execute(*_count_command(layer.prefix, name, limit))
    return _count_here(name, limit) if wait is None else float(wait) / 1000


def _count_command(
    prefix: str, name: str, limit: int, seconds: float = WINDOW_SECONDS
) -> tuple[str | int, ...]:
    return "EVAL", _COUNT, 1, f"{prefix}:count:{name}", limit, int(seconds * 1000)


def _count_here(name: str, limit: int, seconds: float = WINDOW_SECONDS) -> float:
    cache.add(name, 0, seconds)
    return seconds if cache.incr(name) > limit else 0.0


# The time when each payer's events are paid for, without a shared Redis; under the lock.
_paid_until: Final[dict[str, float]] = {}
_paid_lock: Final = threading.Lock()
_MAX_PAYERS: Final = 10_000  # above this, payers that owe nothing are forgotten


def pay(who: str, cost: float) -> float:
    """Count events that cost so many seconds: 0, or the seconds to wait if not counted.

    One second's worth may come at once. Events that cost more pass when nothing is owed, and later
    ones wait until they are paid for. Raises RedisError and OSError.
    """
    layer = shared_layer()
    if layer is not None:
        key = f"{layer.prefix}:pace:{who}"
        return float(layer.sync_client.eval(_PACE, 1, key, int(cost * 1_000_000))) / 1_000_000
    with _paid_lock:
        now = time.monotonic()
        if len(_paid_until) >= _MAX_PAYERS:
            for payer in [payer for payer, until in _paid_until.items() if until <= now]:
                del _paid_until[payer]
        wait, _paid_until[who] = pace(_paid_until.get(who, 0.0), now, cost)
    return wait


async def apay(who: str, cost: float) -> float:
    """`pay` for asynchronous code; raises BackendUnavailable."""
    layer, shared = current_layer(), shared_layer()
    if layer is None or shared is None:
        return pay(who, cost)  # in the memory of this process
    key = f"{shared.prefix}:pace:{who}"
    return float(await layer.execute("EVAL", _PACE, 1, key, int(cost * 1_000_000))) / 1_000_000


def pace(paid: float, now: float, cost: float) -> tuple[float, float]:
    """Seconds to wait (0: counted), and the time when everything is paid for afterwards.

    Up to one second may be owed; events that cost more must start without debt.
    """
    paid = max(now, paid)
    wait = paid - now - max(0.0, 1.0 - cost)
    return (wait, paid) if wait > 0 else (0.0, paid + cost)
