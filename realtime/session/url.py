"""Parses the URL of a connection: a stream, and the client's position in it."""

from collections.abc import Sequence

from realtime import protocol
from realtime.protocol import ErrorCode, Position, ProtocolError
from realtime.session.connection import SocketScope
from realtime.streams import Channel, InvalidSymbol, Stream, parse_symbol


def stream_in_url(channel: Channel, scope: SocketScope) -> Stream | None:
    """The stream that the path names; raises ProtocolError if that is not a symbol."""
    text = _symbol_in_path(scope)
    if text is None:
        return None
    try:
        return Stream(channel, parse_symbol(text))
    except InvalidSymbol as exc:
        raise ProtocolError(ErrorCode.INVALID_SYMBOL, f"{text[:64]!r}: {exc.reason}") from None


def position_in_url(stream: Stream, scope: SocketScope) -> dict[str, Position]:
    """The position in `?epoch=&offset=`, for this stream."""
    try:
        position = protocol.position_from_query(scope["query_string"])
    except ProtocolError:
        position = protocol.UNKNOWN_POSITION  # `check_position` reports the error
    return {} if position is None else {stream.symbol: position}


def check_position(streams: Sequence[Stream], scope: SocketScope) -> None:
    """Raises ProtocolError if the URL asks to resume what cannot be resumed."""
    position = protocol.position_from_query(scope["query_string"])
    if position is not None and not streams:
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            "offset: the URL has no symbol for it; send subscribe with since",
            details={"field": "offset"},
        )


def _symbol_in_path(scope: SocketScope) -> str | None:
    """The part of the path that names the symbol; None if it is empty.

    A slash at the end is ignored, but a percent-encoded one belongs to the symbol. Only the raw
    path can tell them apart, and servers need not pass it on.
    """
    text = scope["url_route"]["kwargs"].get("symbol")
    if not text:
        return None
    sent = scope.get("raw_path") or b"/"
    return text[:-1] if text.endswith("/") and sent.endswith(b"/") else text
