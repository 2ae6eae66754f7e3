"""One-use tickets: what a browser puts into the URL of a WebSocket instead of its secret.

A ticket stands for a credential that was presented a moment ago. It is stored in Redis under its
hash, for TICKET_SECONDS or until a process redeems it; with a channel layer without Redis, in the
memory of this process.
"""

import hashlib
import json
import secrets
import string
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from redis.exceptions import RedisError

from realtime.access.credentials import TICKET_PREFIX
from realtime.delivery.layers import current_layer, shared_layer
from realtime.delivery.publisher import BackendUnavailable

TICKET_SECONDS: Final = 30
_ALPHABET: Final = string.ascii_letters + string.digits
_LENGTH: Final = 32  # 62 ** 32 is 190.5 bits
_MOST_IN_MEMORY: Final = 10_000


class TicketsUnavailable(Exception):
    """Raised when Redis, which stores the tickets, does not answer."""

    def __str__(self) -> str:
        return "Tickets are not available: Redis does not answer. Try again."


class Store(Protocol):
    def put(self, key: str, value: str) -> None: ...
    def take(self, key: str) -> str | None:
        """The value, once."""


class RedisStore:
    def __init__(self, client: Any) -> None:
        self._client = client

    def put(self, key: str, value: str) -> None:
        self._client.set(key, value, ex=TICKET_SECONDS)

    def take(self, key: str) -> str | None:
        value: bytes | None = self._client.getdel(key)
        return None if value is None else value.decode()


class MemoryStore:
    """For one process: tests, and channel layers without Redis."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._values: dict[str, tuple[float, str]] = {}

    def put(self, key: str, value: str) -> None:
        with self._lock:
            now = self._clock()
            # All have the same lifetime, so the oldest expire first.
            for old, (good_until, _) in list(self._values.items()):
                if good_until > now and len(self._values) < _MOST_IN_MEMORY:
                    break
                del self._values[old]
            self._values[key] = (now + TICKET_SECONDS, value)

    def take(self, key: str) -> str | None:
        with self._lock:
            good_until, value = self._values.pop(key, (0.0, ""))
            return value if good_until > self._clock() else None


_memory: Final = MemoryStore()


def issue(grant: Mapping[str, object]) -> str:
    """A new ticket for what `redeem` will return; raises TicketsUnavailable."""
    ticket = _new_ticket()
    store, key = _place_of(ticket)
    try:
        store.put(key, json.dumps(grant))
    except (RedisError, OSError) as exc:
        raise TicketsUnavailable from exc
    return ticket


async def aissue(grant: Mapping[str, object]) -> str:
    """`issue` for asynchronous code."""
    ticket = _new_ticket()
    store, key = _place_of(ticket)
    layer = current_layer()
    if isinstance(store, MemoryStore) or layer is None:
        store.put(key, json.dumps(grant))
        return ticket
    try:
        await layer.execute("SET", key, json.dumps(grant), "EX", TICKET_SECONDS)
    except BackendUnavailable as exc:
        raise TicketsUnavailable from exc
    return ticket


def redeem(ticket: str) -> dict[str, object] | None:
    """What the ticket stands for, once over all processes; raises TicketsUnavailable.

    None for a ticket that is unknown, used or expired; the three are indistinguishable.
    """
    store, key = _place_of(ticket)
    try:
        value = store.take(key)
    except (RedisError, OSError) as exc:
        raise TicketsUnavailable from exc
    if value is None:
        return None
    grant: dict[str, object] = json.loads(value)
    return grant


def _new_ticket() -> str:
    return TICKET_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def _place_of(ticket: str) -> tuple[Store, str]:
    digest = hashlib.sha256(ticket.encode()).hexdigest()
    layer = shared_layer()
    if layer is None:
        return _memory, digest
    return RedisStore(layer.sync_client), f"{layer.prefix}:ticket:{digest}"
