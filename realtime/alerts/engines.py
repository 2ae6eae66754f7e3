"""Which engines are alive, and which of them evaluates a symbol.

Each engine renews a lease in Redis. A symbol belongs to the engine with the highest hash of both
names: when an engine starts or ends, only its share moves. The engines need not agree at every
moment: if two of them evaluate the same update, only one commits it (see `progress.write`).
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from realtime.delivery.layers import StreamLayer

# Seconds between two renewals, and seconds without a renewal after which an engine is dead.
BEAT_SECONDS: Final = 1.0
LEASE_SECONDS: Final = 4.0

# KEYS: a sorted set of engines by the end of their leases. ARGV: engine, milliseconds (0: leave).
# The clock is that of Redis, so the engines' clocks need not agree.
_BEAT: Final = """\
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if tonumber(ARGV[2]) > 0 then
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""


class Members:
    """The engines as this one sees them; only itself with a channel layer of one process."""

    def __init__(self, layer: StreamLayer, name: str) -> None:
        self.name = name
        self.names: Sequence[str] = [name]
        self._layer = layer
        self._key = f"{layer.prefix}:alert-engines"

    async def beat(self) -> bool:
        """Renew the lease; True if the engines have changed. Raises BackendUnavailable."""
        before = self.names
        self.names = await self._renew(LEASE_SECONDS)
        return self.names != before

    async def leave(self) -> None:
        """Give up the lease, so that the other engines need not wait for its end."""
        await self._renew(0)

    async def _renew(self, seconds: float) -> Sequence[str]:
        lease = self.name, int(seconds * 1000)
        found = await self._layer.execute("EVAL", _BEAT, 1, self._key, *lease)
        return [self.name] if found is None else sorted(name.decode() for name in found)

    def own(self, symbol: str) -> bool:
        return owner(symbol, self.names) == self.name


def owner(symbol: str, names: Sequence[str]) -> str:
    """The engine that owns a symbol, by rendezvous hashing."""
    return max(names, key=lambda name: hashlib.blake2b(f"{name} {symbol}".encode()).digest())
