"""The wire contract as tables: the fields of each message on which a client may rely.

Written from the contract instead of `realtime.protocol`, so that the two check each other. Every
message that a test client receives goes through `checked`.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

Message = dict[str, Any]
Check = Callable[[Any], bool]

ERROR_CODES = {
    "invalid_json", "invalid_message", "unknown_type", "invalid_symbol", "invalid_token",
    "auth_required", "forbidden", "not_subscribed", "subscription_limit", "connection_limit",
    "rate_limited", "prediction_failed", "disconnected", "slow_consumer", "internal_error",
}  # fmt: skip
CLOSE_CODES = {
    "BAD_REQUEST": 4400,
    "UNAUTHORIZED": 4401,
    "FORBIDDEN": 4403,
    "NOT_FOUND": 4404,
    "DISCONNECTED": 4409,
    "LIMIT_EXCEEDED": 4429,
    "INTERNAL_ERROR": 4500,
    "HEARTBEAT_TIMEOUT": 4504,
    "SLOW_CONSUMER": 4508,
    "MESSAGE_TOO_BIG": 1009,
    "SERVICE_RESTART": 1012,
}
CHANNELS = ("predictions", "market-data", "alerts")

_MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.\-_=^:/]{0,31}")


def text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def positive(value: object) -> bool:
    return count(value) and value != 0


def moment(value: object) -> bool:
    return isinstance(value, str) and _MILLISECONDS.fullmatch(value) is not None


def symbol(value: object) -> bool:
    return isinstance(value, str) and _SYMBOL.fullmatch(value) is not None


def flag(value: object) -> bool:
    return isinstance(value, bool)


def true(value: object) -> bool:
    return value is True


def mapping(value: object) -> bool:
    return isinstance(value, dict)


def request_id(value: object) -> bool:
    return (isinstance(value, str) and len(value) <= 64) or (
        isinstance(value, int) and not isinstance(value, bool)
    )


def one_of(*values: object) -> Check:
    return lambda value: value in values


def or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def stream_name(value: object) -> bool:
    """A symbol, every symbol, or one of the two streams of the alerts channel."""
    return symbol(value) or value in ("*", "all", "user")


def names(value: object) -> bool:
    return isinstance(value, list) and all(map(stream_name, value))


def ids(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str | int) for item in value)


def streams(value: object) -> bool:
    return isinstance(value, dict) and all(
        stream_name(name)
        and text(info.get("epoch"))
        and count(info.get("offset"))
        and set(info) <= {"epoch", "offset", "recovered", "replayed"}
        and flag(info.get("recovered", False))
        and count(info.get("replayed", 0))
        for name, info in value.items()
    )


def heads(value: object) -> bool:
    return isinstance(value, dict) and all(
        stream_name(name) and count(offset) for name, offset in value.items()
    )


# type: (fields that are always there, fields that may be there)
SERVER_MESSAGES: dict[str, tuple[dict[str, Check], dict[str, Check]]] = {
    "connected": (
        {
            "channel": one_of(*CHANNELS),
            "symbols": names,
            "connection_id": text,
            "message": text,
            "protocol": one_of(1),
            "heartbeat_interval": number,
            "authenticated": flag,
            "streams": streams,
        },
        {"symbol": stream_name},
    ),
    "ping": ({"heads": heads}, {}),
    "pong": ({}, {"id": request_id}),
    "prediction_update": (
        {"symbol": symbol, "data": mapping},
        {
            "offset": positive,
            "snapshot": true,
            "folded": positive,
            "request_id": text,
            "epoch": text,
        },
    ),
    "market_data_update": (
        {"symbol": symbol, "data": mapping},
        {"offset": positive, "snapshot": true, "folded": positive, "epoch": text},
    ),
    "alert": (
        {"id": text, "data": mapping, "audience": one_of("all", "user")},
        {"offset": positive, "replayed": true, "filtered": positive},
    ),
    "subscribed": (
        {"channel": one_of(*CHANNELS), "symbols": names, "streams": streams},
        {"symbol": stream_name, "id": request_id},
    ),
    "unsubscribed": (
        {"channel": one_of(*CHANNELS), "symbols": names, "streams": streams},
        {"symbol": stream_name, "id": request_id},
    ),
    "prediction_requested": (
        {"symbol": symbol, "request_id": text, "status": one_of("processing"), "message": text},
        {"id": request_id},
    ),
    "alerts_configured": ({"config": mapping, "message": text}, {"id": request_id}),
    "acked": ({"ids": ids}, {"id": request_id}),
    "authenticated": ({"expires_at": or_null(moment)}, {"id": request_id}),
    "token_expiring": ({"expires_at": moment}, {}),
    "status": (
        {
            "channel": one_of(*CHANNELS),
            "connection_id": text,
            "symbols": names,
            "streams": streams,
            "limits": mapping,
            "counters": mapping,
            "rtt_ms": or_null(number),
            "credential": mapping,
            "server": mapping,
        },
        {"id": request_id},
    ),
    "stream_status": (
        {
            "symbol": stream_name,
            "state": one_of("stale", "fresh"),
            "last_update": or_null(moment),
            "expected_every": or_null(number),
        },
        {"reason": text},
    ),
    "prediction_outcome": (
        {
            "symbol": symbol,
            "prediction_id": text,
            "predicted_price": number,
            "actual_price": number,
            "error": number,
            "within_bounds": flag,
        },
        {},
    ),
    "gap": (
        {"symbol": stream_name, "from_offset": positive, "to_offset": count},
        {"epoch": text},
    ),
    "server_shutdown": ({"reconnect_in_ms": count}, {}),
    "error": (
        {"code": one_of(*ERROR_CODES), "message": text, "retry": flag},
        {"retry_after_ms": positive, "details": mapping, "id": request_id},
    ),
}
UPDATES = ("prediction_update", "market_data_update", "alert")


def checked(frame: str | bytes, *, numbered: bool = True) -> Message:
    """The message in a frame; raises AssertionError, naming the field, if it breaks the contract.

    numbered=False is for channel layers that do not number their updates.
    """
    assert isinstance(frame, str), f"the server sends text frames, not {frame!r}"
    message = json.loads(frame)
    assert isinstance(message, dict), f"a message is one object: {frame}"
    check_server_message(message, numbered=numbered)
    return message


def check_server_message(message: Mapping[str, Any], *, numbered: bool = True) -> None:
    kind = message.get("type")
    assert kind in SERVER_MESSAGES, f"unknown type {kind!r}"
    required, optional = SERVER_MESSAGES[kind]
    fields: dict[str, Check] = {"timestamp": moment, **required}
    for name, check in fields.items():
        assert name in message, f"{kind}.{name} is missing: {message}"
        assert check(message[name]), f"{kind}.{name} is {message[name]!r}"
    for name in message.keys() - fields.keys() - {"type"}:
        assert name in optional, f"{kind}.{name} is not in the contract: {message}"
        assert optional[name](message[name]), f"{kind}.{name} is {message[name]!r}"
    # Requested predictions and alerts from the inbox do not belong to a stream.
    beside = "request_id" in message or (kind == "alert" and "replayed" in message)
    if kind in UPDATES and numbered and not beside:
        assert "offset" in message, f"{kind}.offset is missing: {message}"
    if kind in UPDATES and "epoch" in message:
        assert message["offset"] == 1, f"{kind}.epoch is told by the first update: {message}"
    if kind in ("connected", "subscribed", "unsubscribed") and message["channel"] != "alerts":
        alone = message["symbols"][0] if len(message["symbols"]) == 1 else None
        assert message.get("symbol") == alone, f"{kind}.symbol is not the only one: {message}"
