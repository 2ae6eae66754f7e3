"""What describes a connection: `connected` and `status` for its client, a row for operators."""

import uuid
from typing import Final

from realtime import protocol
from realtime.access.roster import MAX_SYMBOLS, ConnectionRow
from realtime.conf import conf
from realtime.connections import TALLIED
from realtime.protocol import StreamInfo
from realtime.session.connection import Connection
from realtime.session.subscriptions import Subscriptions
from realtime.version import VERSION

SERVER_ID: Final = uuid.uuid4().hex[:12]


def connected(
    connection: Connection, subscriptions: Subscriptions, infos: dict[str, StreamInfo]
) -> protocol.Connected:
    symbols = subscriptions.symbols
    message = protocol.Connected(
        channel=connection.channel,
        symbols=symbols,
        connection_id=connection.connection_id,
        message=f"Connected to {connection.channel}",
        protocol=protocol.PROTOCOL_VERSION,
        heartbeat_interval=conf.REALTIME_HEARTBEAT_INTERVAL,
        authenticated=connection.identity.is_authenticated,
        streams=infos,
    )
    if len(symbols) == 1:
        message.symbol = symbols[0]
    return message


def status(
    connection: Connection,
    subscriptions: Subscriptions,
    limits: dict[str, dict[str, int]],
    round_trip: float | None,
    id: str | int | None,
) -> protocol.Status:
    identity = connection.identity
    expires_at = identity.expires_at
    message = protocol.Status(
        channel=connection.channel,
        connection_id=connection.connection_id,
        symbols=subscriptions.symbols,
        streams=subscriptions.positions(),
        limits=limits,
        counters={
            **dict(zip(TALLIED, connection.tally(), strict=True)),
            "waiting_bytes": connection.socket.outbox.size,
        },
        rtt_ms=_milliseconds(round_trip),
        credential={
            "kind": identity.kind,
            "expires_at": None if expires_at is None else protocol.timestamp(expires_at),
        },
        server={"id": SERVER_ID, "version": VERSION},
    )
    return protocol.answering(message, id)


def described(
    connection: Connection,
    subscriptions: Subscriptions,
    address: str | None,
    round_trip: float | None,
) -> ConnectionRow:
    """A connection as operators see it. Never its credential itself."""
    identity, symbols = connection.identity, subscriptions.symbols
    sent, folded, replayed = connection.tally()
    return {
        "id": connection.connection_id,
        "channel": connection.channel,
        "transport": connection.transport,
        "user": identity.user.get_username(),
        "user_id": identity.user_id,
        "credential": identity.kind,
        "key_id": identity.key_id,
        "address": address,
        "symbols": symbols[:MAX_SYMBOLS],
        "symbol_count": len(symbols),
        "since": connection.connected_at,
        "rtt_ms": _milliseconds(round_trip),
        "sent": sent,
        "folded": folded,
        "replayed": replayed,
        "waiting_bytes": connection.socket.outbox.size,
        "process": "",
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def limit_left(limit: int, left: int) -> dict[str, int]:
    return {"limit": limit, "left": max(0, left)}
