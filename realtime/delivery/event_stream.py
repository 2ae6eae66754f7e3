"""Messages as server-sent events, with the ids from which a reader resumes. Pure: no I/O.

The id of an event is the position of a reader that has received it: `epoch:offset`, and for several
streams `AAPL=epoch:offset,MSFT=epoch:offset`.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from realtime.protocol import InvalidPosition, Position, StreamInfo, parse_position

HEARTBEAT: Final = b": heartbeat\n\n"


class _Seen(Struct):
    """The fields of a message that move its reader's position."""

    type: str
    channel: str = ""
    symbol: str = ""
    audience: str = ""
    offset: int = 0
    epoch: str = ""
    to_offset: int = 0
    reconnect_in_ms: int = 0
    streams: dict[str, StreamInfo] | None = None


_decoder: Final = msgspec.json.Decoder(_Seen)


class EventStream:
    """Writes the events of one reader; `since` is the position from which it starts."""

    __slots__ = ("_id", "_positions", "_texts")

    def __init__(self, since: Mapping[str, Position]) -> None:
        self._positions = dict(since)
        self._texts: dict[str, str] = {}
        self._id = b""

    def event(self, text: bytes) -> bytes:
        """One message as an event. A message is JSON, so it contains no line feed."""
        seen = _decoder.decode(text)
        fields = b""
        if self._moves(seen):
            fields = b"id: %b\n" % self._id
        if seen.reconnect_in_ms:
            fields += b"retry: %d\n" % seen.reconnect_in_ms
        return b"%bdata: %b\n\n" % (fields, text)

    def _moves(self, seen: _Seen) -> bool:
        before = self._id
        if seen.streams is not None:
            for name, info in seen.streams.items():
                self._stand(name, self._begun(name, info, seen.channel))
        elif seen.type == "gap":
            self._stand(seen.symbol, Position(seen.epoch, seen.to_offset))
        elif seen.offset:
            name = seen.symbol or seen.audience
            known = self._positions.get(name)
            if known is not None:
                self._stand(name, Position(seen.epoch or known.epoch, seen.offset))
        if len(self._texts) == 1:
            (self._id,) = (text.rpartition("=")[2].encode() for text in self._texts.values())
        else:
            self._id = ",".join(self._texts.values()).encode()
        return self._id != before

    def _begun(self, name: str, info: StreamInfo, channel: str) -> Position:
        """The position of a reader that is subscribed but has received no update yet."""
        known = self._positions.get(name)
        if info.recovered is True and known is not None:
            return Position(info.epoch, known.offset)
        snapshot = channel != "alerts" and info.offset > 0
        return Position(info.epoch, info.offset - 1 if snapshot else info.offset)

    def _stand(self, name: str, position: Position) -> None:
        self._positions[name] = position
        self._texts[name] = f"{name}={position.epoch}:{position.offset}"


def parse_event_id(text: str, names: Sequence[str]) -> dict[str, Position]:
    """The positions in an id, by the name of the stream; raises InvalidPosition.

    An id without names applies to the only stream, or to the first stream of `alerts`.
    """
    if "=" not in text:
        if not names:
            raise InvalidPosition
        return {names[0]: parse_position(text)}
    found: dict[str, Position] = {}
    for part in text.split(","):
        name, _, position = part.rpartition("=")
        found[name] = parse_position(position)
    return found
