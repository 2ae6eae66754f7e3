"""Live connections as operators name and read them: with users and keys by name, not by number."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypedDict

from django.contrib.auth import get_user_model
from django.db.models import Q

from realtime.access.identity import IdentityKind
from realtime.access.roster import ConnectionRow, Selection, Transport
from realtime.models import ApiKey
from realtime.protocol import timestamp
from realtime.streams import Channel
from realtime.users import InvalidUserId, UserId, read_user_id, user_id_of

# Keys whose names match a search, of which connections are found.
_MAX_KEYS: Final = 100


class UnknownName(ValueError):
    """Raised for a user or a key that does not exist; `field` is `user` or `key`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


def select(
    *,
    id: str | None = None,
    channel: Channel | None = None,
    user: str | None = None,
    key: str | None = None,
    search: str = "",
) -> Selection:
    """A selection by names; empty ones do not narrow it. Raises UnknownName."""
    return Selection(
        id=id or None,
        channel=channel or None,
        user_id=_user_id(user) if user else None,
        key_id=_key_id(key) if key else None,
        search=search,
        search_keys=_keys_named(search),
    )


def _user_id(name: str) -> UserId:
    """By user name, or else by primary key."""
    users = get_user_model()._default_manager
    found = users.filter(**{get_user_model().USERNAME_FIELD: name}).first()
    if found is None:
        with suppress(InvalidUserId):
            found = users.filter(pk=read_user_id(name)).first()
    if found is None:
        raise UnknownName("user", f"There is no user {name[:100]!r}.")
    return user_id_of(found.pk)


def _key_id(text: str) -> int:
    # Of a whole key only the visible part is used: the operator may have pasted a leaked one.
    prefix = text.removeprefix("ara_").partition("_")[0]
    found = ApiKey.objects.filter(prefix=prefix).values_list("pk", flat=True).first()
    if found is None:
        raise UnknownName("key", f"There is no key ara_{prefix[:20]}; see list_api_keys.")
    return found


def _keys_named(search: str) -> tuple[int, ...]:
    words = search.removeprefix("ara_").split()
    if not words:
        return ()
    named = Q(*(Q(name__icontains=word) | Q(prefix__icontains=word) for word in words))
    return tuple(ApiKey.objects.filter(named).values_list("pk", flat=True)[:_MAX_KEYS])


class ShownConnection(TypedDict):
    """A connection in JSON. `key` is the visible part of an API key."""

    id: str
    channel: Channel
    transport: Transport
    user: str | None
    user_id: UserId | None
    credential: IdentityKind
    key: str | None
    key_name: str | None
    address: str | None
    symbols: list[str]
    symbol_count: int
    since: str
    rtt_ms: float | None
    sent: int
    folded: int
    replayed: int
    waiting_bytes: int
    process: str


def shown(rows: Sequence[ConnectionRow]) -> list[ShownConnection]:
    """Rows with the names of their keys, which takes one query."""
    keys = ApiKey.objects.in_bulk({row["key_id"] for row in rows if row["key_id"] is not None})
    return [_shown(row, keys.get(row["key_id"] or 0)) for row in rows]


def _shown(row: ConnectionRow, key: ApiKey | None) -> ShownConnection:
    return {
        "id": row["id"],
        "channel": row["channel"],
        "transport": row["transport"],
        "user": row["user"] or None,
        "user_id": row["user_id"],
        "credential": row["credential"],
        "key": None if key is None else key.visible,
        "key_name": None if key is None else key.name,
        "address": row["address"],
        "symbols": row["symbols"],
        "symbol_count": row["symbol_count"],
        "since": timestamp(datetime.fromtimestamp(row["since"], UTC)),
        "rtt_ms": row["rtt_ms"],
        "sent": row["sent"],
        "folded": row["folded"],
        "replayed": row["replayed"],
        "waiting_bytes": row["waiting_bytes"],
        "process": row["process"],
    }
