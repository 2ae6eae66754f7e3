"""One update of one stream, built once per process and shared by all of its sockets."""

from datetime import UTC, datetime
from typing import Final, Protocol

from msgspec import MsgspecError

from realtime.protocol import (
    SUFFIX_REPLAYED,
    SUFFIX_SNAPSHOT,
    alert_id,
    begun,
    filtered,
    folded,
    update_data,
    update_text,
    update_time,
)
from realtime.streams import Stream


def frame(text: bytes) -> bytes:
    """A whole WebSocket text frame from the server: final, unmasked (RFC 6455, section 5.2).

    Server frames carry no mask, so the same bytes serve every socket.
    """
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)


class Update:
    """`body` is the JSON text up to the offset, see `protocol.update_text`."""

    __slots__ = ("_alert_id", "_data", "_frame", "body", "epoch", "offset", "stream")

    def __init__(self, stream: Stream, epoch: str, offset: int, body: bytes) -> None:
        self.stream = stream
        self.epoch = epoch
        self.offset = offset
        self.body = body
        self._frame: bytes | None = None
        self._alert_id: str | None = None
        self._data: dict[str, object] | None = None

    def __repr__(self) -> str:
        return f"<Update {self.stream.group} {self.epoch}:{self.offset}>"

    @property
    def foldable(self) -> bool:
        """A newer price replaces an older one; an alert replaces nothing."""
        return self.stream.channel != "alerts"

    @property
    def text(self) -> bytes:
        return update_text(self.body, self.offset)

    @property
    def frame(self) -> bytes:
        if self._frame is None:
            self._frame = frame(self.text)
        return self._frame

    @property
    def data(self) -> dict[str, object]:
        """The `data` object, for filters and for readers inside the server. Parsed once."""
        if self._data is None:
            self._data = update_data(self.body)
        return self._data

    @property
    def alert_id(self) -> str:
        """The `id` of an alert. Parsed once."""
        if self._alert_id is None:
            self._alert_id = alert_id(self.body)
        return self._alert_id

    def folded_text(self, count: int) -> bytes:
        """The text with `folded`, the number of older updates that this one replaced."""
        return update_text(self.body, self.offset, folded(count))

    def filtered_text(self, count: int) -> bytes:
        """The text with `filtered`, the number of unwanted updates before this one."""
        return update_text(self.body, self.offset, filtered(count))

    def replayed_after(self, count: int) -> bytes:
        """A replayed alert, after `count` alerts that the reader did not want."""
        suffix = filtered(count) if count else b""
        return update_text(self.body, self.offset, suffix + SUFFIX_REPLAYED)

    @property
    def snapshot_text(self) -> bytes:
        return update_text(self.body, self.offset, SUFFIX_SNAPSHOT)

    @property
    def replayed_text(self) -> bytes:
        """Replayed alerts are marked as such; other updates are recognised by their offsets."""
        suffix = SUFFIX_REPLAYED if self.stream.channel == "alerts" else b""
        return update_text(self.body, self.offset, suffix)


class FirstUpdate(Update):
    """A stream's first update for readers of every symbol, which learn the epoch from it alone.

    No newer update replaces it while it waits.
    """

    __slots__ = ()

    @property
    def foldable(self) -> bool:
        return False

    @property
    def text(self) -> bytes:
        return update_text(self.body, self.offset, begun(self.epoch))


def age_of(update: Update) -> float | None:
    """Seconds since an update was published; None for one that does not say."""
    try:
        published = update_time(update.body)
    except (ValueError, MsgspecError):
        return None
    return max(0.0, (datetime.now(UTC) - published).total_seconds())


class Reader(Protocol):
    """Receives the updates of a stream: a socket, a rate-limited subscription, an iterator."""

    @property
    def owner(self) -> object:
        """The client behind this reader: if it reads a symbol and `*`, it gets each update once."""

    def deliver(self, update: Update) -> None:
        """Take the next update. Must not raise and must not block."""

    def deliver_snapshot(self, update: Update) -> None:
        """Take the newest update, after a gap."""

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        """Updates `first` to `last` of `epoch` are lost for good."""

    def deliver_state(self, stream: Stream, text: bytes) -> None:
        """A `stream_status` message."""


NO_EPOCH: Final = ""
