"""Updates sent the Channels way: `group_send("market-data.AAPL", {"type": "stream.update"})`.

An invalid update raises in the sender, before anything is sent.
"""

import uuid
from collections.abc import Mapping
from typing import Final

from realtime import protocol
from realtime.delivery.process_layer import UPDATE, Message
from realtime.payloads import InvalidUpdate, check_data, check_severity, require_size
from realtime.streams import CHANNELS, InvalidSymbol, Stream, parse_symbol

_FIELDS: Final = frozenset({"type", "symbol", "data"})
_EXAMPLE: Final = '{"type": "stream.update", "data": {"price": 149.5}}'


def update_in(group: str, message: Message) -> tuple[Stream, bytes] | None:
    """The update that a message to a group publishes; None for messages of any other kind.

    Raises InvalidUpdate.
    """
    stream = Stream.from_group(group)
    if stream is not None and not isinstance(message.get("type"), str):
        raise InvalidUpdate("type", f"a message to {group} needs a type, such as {_EXAMPLE}")
    if message.get("type") != UPDATE:
        return None
    if stream is None:
        _require_foreign(group)
        return None
    if stream.wildcard:
        raise InvalidUpdate(
            "group",
            f"{group} is the group of readers of all symbols; publish to {stream.channel}.SYMBOL",
        )
    _check_fields(stream, message)
    body = _body(stream, check_data(message["data"], "data"))
    require_size(body, "data")
    return stream, body


def _require_foreign(group: str) -> None:
    """Refuse a name that only looks like that of a stream: no reader would receive the message."""
    channel, dot, _ = group.partition(".")
    if dot and channel in CHANNELS:
        names = "alerts.all and alerts.user-ID" if channel == "alerts" else f"{channel}.SYMBOL"
        raise InvalidUpdate(
            "group",
            f"{group} is not a stream; the names are {names}, symbols in upper case, with the "
            "letters that realtime.streams.symbol_stream(channel, symbol).group shows",
        )


def _check_fields(stream: Stream, message: Message) -> None:
    if "data" not in message:
        raise InvalidUpdate("data", f"is missing: send {_EXAMPLE}")
    unknown = [name for name in message if name not in _FIELDS]
    if unknown:
        raise InvalidUpdate(str(unknown[0]), f"is not a field of {UPDATE}; put it into data")
    if "symbol" in message:
        _check_symbol(stream, message["symbol"])


def _check_symbol(stream: Stream, symbol: object) -> None:
    if stream.channel == "alerts":
        raise InvalidUpdate("symbol", "alerts have none; put it into data")
    try:
        named = parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise InvalidUpdate("symbol", exc.reason) from None
    if named != stream.symbol:
        raise InvalidUpdate("symbol", f"is {named}, and the group is that of {stream.symbol}")


def _body(stream: Stream, data: Mapping[str, object]) -> bytes:
    if stream.channel == "predictions":
        return protocol.prediction_body(stream.symbol, data)
    if stream.channel == "market-data":
        return protocol.market_data_body(stream.symbol, data)
    check_severity(data, "data")
    audience = "all" if stream.user_id is None else "user"
    return protocol.alert_body(uuid.uuid4().hex, audience, data)
