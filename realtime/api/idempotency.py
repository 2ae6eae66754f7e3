"""Idempotency keys: a repeated request acts only once, and gets the first answer.

The header `Idempotency-Key` follows the IETF draft: 409 while the first request is in progress, 422
if another body comes with the key. Each item of a request has its own id, or gets one derived from
the key. Publishing and storing recognise a repetition by this id, so that a repeated request
completes one that was carried out in part. Only the use of the key is stored here.
"""

import hashlib
import json
import logging
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from redis.exceptions import RedisError

from realtime.access.identity import Identity
from realtime.api.answers import Invalid, Refused
from realtime.delivery.history_scripts import ONCE_SECONDS
from realtime.delivery.layers import shared_layer
from realtime.limits.policy import payer
from realtime.payloads import MAX_ID, check_id
from realtime.remembered import Remembered

logger = logging.getLogger(__name__)

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
# A request that takes longer, or whose process was killed, no longer blocks its repetition.
LEASE_SECONDS: Final = 30

# KEYS: a hash (f: fingerprint of the request, h: the request that holds the key, u: until when).
# ARGV: fingerprint, holder, ms of the lease, ms of life.
_BEGIN: Final = """\
local held = redis.call('HMGET', KEYS[1], 'f', 'u')
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if held[1] and held[1] ~= ARGV[1] then return 'other' end
if held[2] and tonumber(held[2]) > now then return 'busy' end
local ends = string.format('%.0f', now + ARGV[3])
redis.call('HSET', KEYS[1], 'f', ARGV[1], 'h', ARGV[2], 'u', ends)
if held[1] then return 'again' end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 'first'
"""
# ARGV: holder, 1 to forget the key altogether.
_END: Final = """\
if redis.call('HGET', KEYS[1], 'h') ~= ARGV[1] then return 0 end
if ARGV[2] == '1' then return redis.call('DEL', KEYS[1]) end
return redis.call('HDEL', KEYS[1], 'h', 'u')
"""

State = Literal["first", "again", "other", "busy"]

# Printable ASCII, with or without quotes: the draft asks for a string of RFC 8941.
_KEY: Final = re.compile(rf"\"?([\x21\x23-\x7e]{{1,{MAX_ID}}})\"?")


class RequestOnce:
    """The key of one request, and the ids of its items."""

    def __init__(self, identity: Identity, header: str | None) -> None:
        """Raises Invalid if the header is not a valid key."""
        self._scope = payer(identity)
        self._key = None if header is None else _parsed(header)

    def id(self, index: int, own: object) -> str | None:
        """The id of an item: its own, or one derived from the key. Raises InvalidUpdate."""
        if own is not None:
            return _digest(self._scope, "id", check_id(own))
        if self._key is not None:
            return _digest(self._scope, "key", self._key, str(index))
        return None

    @contextmanager
    def held(self, endpoint: str, body: object) -> Iterator[bool]:
        """Hold the key; True if it was used for this body before. Raises Refused otherwise."""
        if self._key is None:
            yield False
            return
        fingerprint = _digest(endpoint, json.dumps(body, sort_keys=True))
        name, holder = _digest(self._scope, self._key), secrets.token_hex(8)
        state = _begin(name, fingerprint, holder)
        if state == "busy":
            reason = f"The first request with this {HEADER} is still under way. Try again."
            raise Refused(409, {"detail": reason}, {"Retry-After": "1"})
        if state == "other":
            reason = f"This {HEADER} was used with another body. Use a new one."
            raise Refused(422, {"detail": reason})
        try:
            yield state == "again"
        except Refused:
            _end(name, holder, forget=state == "first")  # nothing was done
            raise
        except BaseException:
            _end(name, holder, forget=False)
            raise
        _end(name, holder, forget=False)


def _parsed(header: str) -> str:
    match = _KEY.fullmatch(header.strip())
    if match is None:
        reason = f"This must be 1 to {MAX_ID} printable ASCII characters without spaces."
        raise Invalid.of(HEADER, reason)
    return match[1]


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _begin(name: str, fingerprint: str, holder: str) -> State:
    layer = shared_layer()
    if layer is None:
        return _local.begin(name, fingerprint)
    lease, life = LEASE_SECONDS * 1000, ONCE_SECONDS * 1000
    key = f"{layer.prefix}:request:{name}"
    try:
        answer: bytes = layer.sync_client.eval(_BEGIN, 1, key, fingerprint, holder, lease, life)
    except (RedisError, OSError) as exc:
        logger.warning("the idempotency key was not checked: %s", exc)
        return "first"  # even so, stored items are recognised by their ids
    state: State = answer.decode()  # type: ignore[assignment]  # one of the four above
    return state


def _end(name: str, holder: str, *, forget: bool) -> None:
    layer = shared_layer()
    if layer is None:
        _local.end(name, forget=forget)
        return
    try:
        layer.sync_client.eval(_END, 1, f"{layer.prefix}:request:{name}", holder, int(forget))
    except (RedisError, OSError) as exc:
        logger.warning("idempotency key stays held for %s s: %s", LEASE_SECONDS, exc)


class _Local:
    """The same for a server with a single process, where requests end with the process."""

    def __init__(self) -> None:
        self._used: Remembered[str] = Remembered(ONCE_SECONDS)
        self._held: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, name: str, fingerprint: str) -> State:
        with self._lock:
            known = self._used.get(name)
            if known is not None and known != fingerprint:
                return "other"
            if name in self._held:
                return "busy"
            self._held.add(name)
            if known is not None:
                return "again"
            self._used.put(name, fingerprint)
            return "first"

    def end(self, name: str, *, forget: bool) -> None:
        with self._lock:
            self._held.discard(name)
            if forget:
                self._used.drop(name)


_local: Final = _Local()
