"""Sends to one WebSocket: the common interface, and the way past ASGI.

`PreparedSocket` writes ready-made frames to the transport of `delivery/server_protocol.py`; see
`asgi_socket` for any other server. Both queue in an Outbox what the peer does not take.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from realtime.delivery.cork import Cork
from realtime.delivery.outbox import SNAPSHOT, Outbox, Topic, once_text
from realtime.delivery.turns import turns_of
from realtime.delivery.updates import Update, frame
from realtime.protocol import Gap, encode
from realtime.streams import Stream

# The key in scope["extensions"] under which a server offers its prepared transport.
PREPARED_EXTENSION: Final = "ara.prepared"
# Bytes taken from the outbox for one write: few enough that a slow reader's waiting updates can
# still be folded, and enough that one system call carries many of them.
WRITE_BYTES: Final = 65536
# Bytes that one socket writes in one turn of the loop.
TURN_BYTES: Final = 2 * WRITE_BYTES


class PreparedTransport(Protocol):
    """What `delivery/server_protocol.py` offers to the application."""

    transport: asyncio.Transport
    paused: bool
    socket: "PreparedSocket | None"

    def end(self, code: int, reason: str) -> None:
        """Send a close frame after the bytes written so far; drop the connection if it hangs."""


class Socket:
    """The common part: counters, the outbox, and the end of a socket whose outbox is full."""

    __slots__ = ("closing", "on_overflow", "outbox", "sent")

    def __init__(self, limit: int, on_overflow: Callable[[], None]) -> None:
        self.outbox = Outbox(limit)
        self.on_overflow = on_overflow
        self.sent = 0  # messages handed to the peer
        self.closing = False

    @property
    def owner(self) -> object:
        return self

    def send(self, text: bytes) -> None:
        """Send a message that is never dropped or folded."""
        raise NotImplementedError

    def send_once(self, topic: Topic, content: bytes | Update, *, replace: bool = False) -> None:
        """Send a text that does not count against a slow reader: see `Outbox.put_once`."""
        raise NotImplementedError

    def send_snapshots(self, updates: Iterable[Update]) -> None:
        """`send_once` of the snapshots of many streams, between `hold` and `release`."""
        raise NotImplementedError

    def deliver(self, update: Update, folded: int = 0) -> None:
        """Send an update of a stream; it may be folded while the peer does not read.

        It has replaced `folded` older ones already.
        """
        raise NotImplementedError

    def deliver_snapshot(self, update: Update) -> None:
        self.outbox.seal()
        if update.stream.channel == "alerts":
            self.send(update.replayed_text)
        else:
            self.send_once((SNAPSHOT, update.stream), update)

    def deliver_gap(self, stream: Stream, first: int, last: int, epoch: str) -> None:
        self.outbox.seal()
        gap = Gap(symbol=stream.symbol, from_offset=first, to_offset=last, epoch=epoch)
        self.send_once(("gap", stream), encode(gap))

    def deliver_state(self, stream: Stream, text: bytes) -> None:
        self.send_once(("state", stream), text, replace=True)

    def hold(self) -> None:
        """Queue until `release`: messages that belong together leave in one write.

        They define where subscriptions start, so no update after them replaces one before them.
        """
        self.outbox.seal()

    def release(self) -> None:
        """End `hold`."""

    async def drain(self) -> None:
        """Wait until the server has taken everything queued before now."""

    async def end(self, code: int, reason: str) -> None:
        """Close the WebSocket. Does not wait for a peer that does not read."""
        raise NotImplementedError

    def _overflow(self) -> None:
        self.outbox.clear()
        self.closing = True
        self.on_overflow()

    def send_last(self, text: bytes) -> None:
        """Send the reason for the close that follows, after the texts that the peer still takes.

        The close drops the other waiting texts, but not the reason.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Send nothing more; the server sends the close frame."""
        self.closing = True
        self.outbox.clear()


class PreparedSocket(Socket):
    """Frames written straight to the transport."""

    __slots__ = ("_cork", "_direct", "_frames", "_held", "_peer", "_write", "ended", "transport")

    def __init__(
        self,
        peer: PreparedTransport,
        limit: int,
        on_overflow: Callable[[], None],
        cork: Cork | None = None,
    ) -> None:
        super().__init__(limit, on_overflow)
        self._peer = peer
        self.transport = peer.transport
        self._write = peer.transport.write
        self._cork = cork or Cork()
        # Frames of this turn of the loop, while the cork is active.
        self._frames: list[bytes] = []
        self._held = False
        self.ended = False  # the close frame is written
        # Nothing waits, and the transport takes more: one check instead of four per delivery.
        self._direct = True
        if peer.transport.is_closing():  # the peer left before its credential was looked up
            self.closing = True
            self._direct = False
        peer.socket = self

    def deliver(self, update: Update, folded: int = 0) -> None:
        if self._direct and not folded and not self._cork.active:
            self._write(update.frame)
            self.sent += 1
        elif self._direct:
            self._write_frame(frame(update.folded_text(folded)) if folded else update.frame)
        elif not self.closing:
            self.outbox.put_update(update, folded)
            if self.outbox.full:
                self._overflow()

    def send(self, text: bytes) -> None:
        if self._direct:
            self._write_frame(frame(text))
        elif not self.closing:
            self.outbox.put(text)
            if self.outbox.full:
                self._overflow()

    def send_once(self, topic: Topic, content: bytes | Update, *, replace: bool = False) -> None:
        if self._direct:
            self._write_frame(frame(once_text(content)))
        elif not self.closing:
            self.outbox.put_once(topic, content, replace=replace)
            if self.outbox.full:
                self._overflow()

    def send_snapshots(self, updates: Iterable[Update]) -> None:
        if not self.closing:
            self.outbox.put_snapshots(updates)
            if self.outbox.full:
                self._overflow()

    def _write_frame(self, data: bytes) -> None:
        self.sent += 1
        if not self._cork.active:
            self._write(data)
            return
        if not self._frames:
            self._cork.sockets.append(self)
        self._frames.append(data)

    def flush(self) -> None:
        """Write the frames that the cork held back."""
        if self._frames:
            frames, self._frames = self._frames, []
            self._write(b"".join(frames))

    def pause(self) -> None:
        """The transport is full: updates wait in the outbox, where they can be folded."""
        self._direct = False

    def hold(self) -> None:
        super().hold()
        self._held = True
        self._direct = False

    def release(self) -> None:
        self._held = False
        self.writable()

    def writable(self) -> None:
        """Write waiting texts until the transport is full again, or the turn is over."""
        self._write_waiting(TURN_BYTES)
        if self._has_more():
            turns_of(asyncio.get_running_loop()).add(self)

    def take_turn(self) -> bool:
        """Write a slice of the waiting texts; returns whether there is another one."""
        self._write_waiting(WRITE_BYTES)
        return self._has_more()

    def _has_more(self) -> bool:
        return bool(self.outbox) and not (self._peer.paused or self.closing)

    def _write_waiting(self, most: float) -> None:
        self.flush()
        while most > 0 and self._has_more():
            texts = self.outbox.take(WRITE_BYTES)
            self.sent += len(texts)
            data = b"".join([frame(text) for text in texts])
            most -= len(data)
            self._write(data)
        self._settle()

    def _settle(self) -> None:
        self._direct = not (self.outbox or self._peer.paused or self._held or self.closing)

    def _overflow(self) -> None:
        super()._overflow()
        self._direct = False

    def _finish(self) -> None:
        self._held = False
        self._write_waiting(math.inf)

    def send_last(self, text: bytes) -> None:
        self._finish()
        if not (self.ended or self._peer.transport.is_closing()):
            # The transport may be full, as it may be for the close frame, which follows.
            self._write(frame(text))
            self.sent += 1

    def close(self) -> None:
        if not self.closing:
            # Texts that the peer still takes go before the close frame, such as the error with the
            # reason.
            self._finish()
        super().close()
        self._direct = False

    async def end(self, code: int, reason: str) -> None:
        self.close()
        self._peer.end(code, reason)
