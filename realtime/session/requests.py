"""Checks of a subscription request, before anything changes.

Pure: no socket, no channel layer. A request with one invalid symbol changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from realtime.access.identity import Identity
from realtime.protocol import ErrorCode, Position, ProtocolError, Subscribe
from realtime.streams import (
    ALERTS_ALL,
    WILDCARD,
    Channel,
    InvalidSymbol,
    Stream,
    symbol_stream,
    user_alerts,
)


@dataclass(frozen=True, slots=True)
class Change:
    """The effect of a valid `subscribe`: streams to join (again), streams to leave."""

    join: Sequence[Stream]
    leave: Sequence[Stream] = ()
    since: Mapping[str, Position] = field(default_factory=dict)
    max_rate: float | None = None


def requested(
    channel: Channel,
    message: Subscribe,
    current: Mapping[str, Stream],
    identity: Identity,
    most: int,
) -> Change:
    """The change that `subscribe` asks for; raises ProtocolError with every symbol's reason."""
    if channel == "alerts":
        return _alerts_again(message, current)
    wanted = [message.symbol] if message.symbol is not None else message.symbols
    if wanted is None:
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            "symbol or symbols is missing",
            details={"field": "symbols"},
            id=message.id,
        )
    streams = parse_streams(channel, wanted, message.id)
    forbidden = [stream.symbol for stream in streams if not identity.allows(channel, stream.symbol)]
    if forbidden:
        raise ProtocolError(
            ErrorCode.FORBIDDEN,
            f"your credential does not allow {channel} of {', '.join(forbidden[:10])}",
            details={"field": "symbols", "symbols": dict.fromkeys(forbidden, "forbidden")},
            id=message.id,
        )
    leave: list[Stream] = []
    if message.symbol is not None:
        leave = [stream for stream in current.values() if stream.symbol != streams[0].symbol]
    elif WILDCARD in {stream.symbol for stream in streams}:
        leave = [stream for stream in current.values() if not stream.wildcard]
        streams = [Stream(channel, WILDCARD)]
    total = len({*current} | {stream.symbol for stream in streams}) - len(leave)
    if total > most:
        raise ProtocolError(
            ErrorCode.SUBSCRIPTION_LIMIT,
            f"{total} subscriptions; one socket may hold {most}. Unsubscribe from some, "
            f'or subscribe to "{WILDCARD}"',
            details={"limit": most, "held": len(current)},
            id=message.id,
        )
    since = _positions(message, {stream.symbol for stream in streams})
    return Change(streams, leave, since, message.max_rate)


def to_leave(
    channel: Channel, symbols: Sequence[str], current: Mapping[str, Stream], id: str | int | None
) -> list[Stream]:
    """The streams that `unsubscribe` names; raises ProtocolError if one is not subscribed to."""
    if channel == "alerts":
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            "alerts have no symbols to unsubscribe from; close the socket, or configure_alerts",
            id=id,
        )
    streams = parse_streams(channel, symbols, id)
    missing = [stream.symbol for stream in streams if stream.symbol not in current]
    if missing:
        raise ProtocolError(
            ErrorCode.NOT_SUBSCRIBED,
            f"not subscribed to {', '.join(missing[:10])}",
            details={"field": "symbols", "symbols": dict.fromkeys(missing, "not subscribed")},
            id=id,
        )
    return streams


def alert_streams(identity: Identity) -> list[Stream]:
    """The alerts for everybody, and those for the user of the credential."""
    user_id = identity.user_id if identity.is_authenticated else None
    return [ALERTS_ALL] if user_id is None else [ALERTS_ALL, user_alerts(user_id)]


def parse_streams(
    channel: Channel, symbols: Iterable[str], id: str | int | None = None
) -> list[Stream]:
    """Streams of symbols, without repetitions; raises ProtocolError with each invalid symbol."""
    streams: dict[str, Stream] = {}
    wrong: dict[str, str] = {}
    for symbol in symbols:
        try:
            stream = symbol_stream(channel, symbol)
        except InvalidSymbol as exc:
            wrong[symbol[:64]] = exc.reason
        else:
            streams[stream.symbol] = stream
    if wrong:
        text = "; ".join(f"{symbol!r}: {reason}" for symbol, reason in list(wrong.items())[:10])
        raise ProtocolError(
            ErrorCode.INVALID_SYMBOL,
            text,
            details={"field": "symbols", "symbols": wrong},
            id=id,
        )
    return list(streams.values())


def _alerts_again(message: Subscribe, current: Mapping[str, Stream]) -> Change:
    """`/ws/alerts` has no symbols to choose; `subscribe` with `since` asks for a replay."""
    named = {message.symbol} if message.symbol is not None else set(message.symbols or ())
    if message.max_rate is not None or not named <= {*current}:
        field_name = "max_rate" if message.max_rate is not None else "symbols"
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"{field_name}: alerts come from the streams {', '.join(current)}, each of them whole; "
            "configure_alerts filters by symbol and severity",
            details={"field": field_name},
            id=message.id,
        )
    streams = [stream for name, stream in current.items() if not named or name in named]
    return Change(streams, since=_positions(message, {*current}, fold=str))


def _positions(
    message: Subscribe, symbols: set[str], fold: Callable[[str], str] = str.upper
) -> dict[str, Position]:
    """`since` by symbol; raises ProtocolError for a symbol that the message does not name."""
    since = {fold(symbol): position for symbol, position in (message.since or {}).items()}
    unknown = [] if WILDCARD in symbols else [name for name in since if name not in symbols]
    if unknown:
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"since: {', '.join(unknown[:10])} is not among the symbols of this message",
            details={"field": "since"},
            id=message.id,
        )
    return since
