"""How many sockets a credential, a user and an address may have open, and how fast they may act.

A limit of 0 means unlimited, and Redis is not asked. While Redis is away nothing is limited: its
outage must not become ours.
"""

import enum
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from redis.exceptions import RedisError

from realtime.access.identity import Identity
from realtime.conf import conf
from realtime.delivery.layers import StreamLayer
from realtime.delivery.publisher import BackendUnavailable
from realtime.limits.scripts import Full
from realtime.limits.shared_rates import acount_in_minute, apay, pay
from realtime.limits.slots import slots_of

logger = logging.getLogger(__name__)

# Seconds to wait that a refused client is told when it needs another client to leave.
RETRY_AFTER_MS: Final = 5_000
# Symbols of one request that count as one more message.
SYMBOLS_PER_MESSAGE: Final = 10


class Subject(enum.StrEnum):
    """The subject of a limit: the first word of its name in Redis."""

    KEY = "key"
    USER = "user"
    ADDRESS = "ip"

    @property
    def named(self) -> str:
        """The subject's name in a refusal."""
        match self:
            case Subject.KEY:
                return "this API key"
            case Subject.USER:
                return "this user"
            case Subject.ADDRESS:
                return "your address"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a socket may not stay, and when to try again; closing `evict` would make room."""

    message: str
    retry_after_ms: int
    evict: str = ""


def connection_limits(identity: Identity, find_address: Callable[[], str | None]) -> dict[str, int]:
    """The limits that a new socket comes under, by subject (`key:12`, `user:7`, `ip:192.0.2.1`)."""
    limits: dict[tuple[Subject, object], int] = {}
    if identity.key_id is not None:
        limits[Subject.KEY, identity.key_id] = (
            identity.max_connections or conf.REALTIME_CONNECTIONS_PER_KEY
        )
    if identity.user_id is not None:
        limits[Subject.USER, identity.user_id] = (
            identity.user_connections or conf.REALTIME_CONNECTIONS_PER_USER
        )
    if conf.REALTIME_CONNECTIONS_PER_IP and (address := find_address()) is not None:
        limits[Subject.ADDRESS, address] = conf.REALTIME_CONNECTIONS_PER_IP
    return {f"{subject}:{id}": limit for (subject, id), limit in limits.items() if limit}


def max_subscriptions(identity: Identity) -> int:
    most: int = identity.max_subscriptions or conf.REALTIME_MAX_SUBSCRIPTIONS
    return most


def message_rate(identity: Identity) -> tuple[float, int]:
    """Messages a second that one socket may send, and how many of them at once."""
    rate: float = conf.REALTIME_MESSAGES_PER_SECOND
    burst: int = conf.REALTIME_MESSAGES_BURST
    own = identity.messages_per_second
    # A key's own rate keeps the server's proportion of the two.
    return (own, max(1, round(burst * own / rate))) if own else (rate, burst)


def publish_rate(identity: Identity) -> int:
    """Updates a second that this client may publish over HTTP; 0 for any number."""
    rate: int = identity.publish_per_second or conf.REALTIME_PUBLISH_PER_SECOND
    return rate


def payer(identity: Identity) -> str:
    """The name under which requests count together: those of a key, or of a user's tokens."""
    return f"user:{identity.user_id}" if identity.key_id is None else f"key:{identity.key_id}"


def count_published(identity: Identity, number: int) -> float:
    """Count updates before they are published: 0, or the seconds to wait if not counted.

    One second's worth may come at once. A larger batch passes when nothing is owed, and later
    updates wait until it is paid for. With Redis all processes count together.
    """
    rate = publish_rate(identity)
    if not rate:
        return 0.0
    try:
        return pay(payer(identity), number / rate)
    except (RedisError, OSError) as exc:
        logger.warning("publish limit was not checked: %s", exc)
        return 0.0


def count_read(identity: Identity, find_address: Callable[[], str | None], symbols: int) -> float:
    """Count a request that reads streams: 0, or the seconds to wait if not counted.

    The rate is that of a socket's messages; with Redis all processes count together. Ten symbols
    count as one more message, as they do in `subscribe`.
    """
    address = None if identity.is_authenticated else find_address()
    if not identity.is_authenticated and address is None:
        return 0.0  # behind a unix socket, where the address is unknown
    who = f"ip:{address}" if address else payer(identity)
    try:
        return pay(f"read:{who}", _read_cost(identity, symbols))
    except (RedisError, OSError) as exc:
        logger.warning("read limit was not checked: %s", exc)
        return 0.0


async def acount_read(identity: Identity, symbols: int) -> float:
    """`count_read` for asynchronous code, for a client with a credential."""
    try:
        return await apay(f"read:{payer(identity)}", _read_cost(identity, symbols))
    except BackendUnavailable as exc:
        logger.warning("read limit was not checked: %s", exc)
        return 0.0


def _read_cost(identity: Identity, symbols: int) -> float:
    rate, _ = message_rate(identity)
    return (1 + symbols // SYMBOLS_PER_MESSAGE) / rate


async def acount_published(identity: Identity, number: int) -> float:
    """`count_published` for asynchronous code."""
    rate = publish_rate(identity)
    if not rate:
        return 0.0
    try:
        return await apay(payer(identity), number / rate)
    except BackendUnavailable as exc:
        logger.warning("publish limit was not checked: %s", exc)
        return 0.0


async def keep_slot(
    layer: StreamLayer, slot: str, limits: Mapping[str, int], *, newest_first: bool
) -> Refusal | None:
    """Count a socket that is open already; None if it may stay open under these limits."""
    if not limits:
        return None
    return await _checked(slots_of(layer).keep(slot, limits, newest_first=newest_first))


async def take_slot(layer: StreamLayer, slot: str, limits: Mapping[str, int]) -> Refusal | None:
    """Count a new socket; None if there is room for it."""
    if not limits:
        return None
    return await _checked(slots_of(layer).take(slot, limits))


async def _checked(answer: Awaitable[Full | None]) -> Refusal | None:
    try:
        full = await answer
    except BackendUnavailable as exc:
        logger.warning("connection limits were not checked: %s", exc)
        return None
    return None if full is None else _refusal(full)


def _refusal(full: Full) -> Refusal:
    whose = Subject(full.subject.partition(":")[0]).named
    return Refusal(
        f"{full.limit} connections of {whose} are open, which is the limit; close one first",
        RETRY_AFTER_MS,
        full.oldest.partition("!")[2],
    )


async def count_prediction(
    layer: StreamLayer, identity: Identity, find_address: Callable[[], str | None]
) -> float:
    """Count a prediction that a client requests: 0, or the seconds until it may.

    All sockets of a user, or of an address, count together: a new socket does not start a new
    minute.
    """
    address = None if identity.user_id is not None else find_address()
    if identity.user_id is None and address is None:
        return 0.0  # behind a unix socket, where the address is unknown
    who = f"ip:{address}" if identity.user_id is None else f"user:{identity.user_id}"
    limit = conf.REALTIME_PREDICTIONS_PER_MINUTE
    return await _count(layer, "prediction", who, limit)


async def _count(layer: StreamLayer, what: str, who: str, limit: int) -> float:
    try:
        return await acount_in_minute(layer, f"{what}s:{who}", limit)
    except BackendUnavailable as exc:
        logger.warning("%s limit was not checked: %s", what, exc)
        return 0.0


async def check_handshakes(layer: StreamLayer, address: str | None) -> Refusal | None:
    """Count a handshake of an address; a Refusal if there are too many in a minute."""
    limit = conf.REALTIME_HANDSHAKES_PER_IP_PER_MINUTE
    if not limit or address is None:
        return None
    wait = await _count(layer, "handshake", address, limit)
    if not wait:
        return None
    return Refusal(f"more than {limit} connections per minute from your address", int(wait * 1000))
