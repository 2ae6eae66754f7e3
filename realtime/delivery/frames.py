"""Parses the frames that clients send to `manage.py serve` slice by slice, and counts them.

uvicorn parses everything that the kernel holds at once, which may be forty thousand empty pings.
"""

from typing import Any, Final

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from realtime.delivery.turns import turns_of

# A client's smallest frame has six bytes: a slice holds 64 of them at most.
SLICE_BYTES: Final = 384
FRAMES_PER_TURN: Final = 64
# Pings, pongs and fragments that one socket may send in a second, and how many at once. Whole
# messages are counted where they are handled, and are read no faster than that.
PARTS_PER_SECOND: Final = 500
PARTS_AT_ONCE: Final = 5000
# Bytes that may follow our close frame, since they were already on their way.
BYTES_AFTER_CLOSE: Final = 256 * 1024
_MAX_CONTROL_FRAME: Final = 6 + 125


class CountingProtocol(ServerProtocol):
    """A parser that counts frames and accepts a close frame between two fragments."""

    frames = 0
    parts = 0  # control frames and fragments

    def recv_frame(self, frame: Frame) -> None:
        self.frames += 1
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # as a control frame may; the message is abandoned
        elif not frame.fin or frame.opcode not in (Opcode.TEXT, Opcode.BINARY):
            self.parts += 1
        super().recv_frame(frame)


class PacedProtocol(WebSocketsSansIOProtocol):
    """One connection; calls `flooded` when the client sends too many frames."""

    conn: CountingProtocol
    _unread = bytearray()
    _parts = 0.0
    _parts_at = 0.0
    _bytes_after_close = 0
    _tail = b""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = CountingProtocol(
            extensions=self.conn.available_extensions,
            max_size=self.config.ws_max_size,
            logger=self.conn.logger,
        )

    def flooded(self) -> None:
        """Close: the client sent more pings, pongs and fragments than any client needs."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self.close_sent:
            self._drop(data)
        elif self._unread or len(data) > SLICE_BYTES or not self._may_parse:
            self._unread = self._unread + data
            self.transport.pause_reading()
            self._read_on()
        else:
            self.parse(data)

    def take_turn(self) -> bool:
        """Parse received bytes, at most one turn's share."""
        end = self.conn.frames + FRAMES_PER_TURN
        while self._unread and self.conn.frames < end and not self._is_over:
            data = bytes(self._unread[:SLICE_BYTES])
            del self._unread[:SLICE_BYTES]
            self.parse(data)
        if self._is_over:
            self.forget_input()
        elif not self._unread:
            self._read_on()
        return bool(self._unread) and self._may_parse

    async def receive(self) -> ASGIReceiveEvent:
        self._read_on()  # bytes that came before the handshake was answered
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._read_on()
        return message

    def forget_input(self) -> None:
        """Stop parsing: our close frame is sent, or the peer is gone."""
        unread, self._unread = self._unread, bytearray()
        if unread and self.close_sent:
            self._look_for_close(bytes(unread))

    @property
    def _is_over(self) -> bool:
        return self.close_sent or self.transport.is_closing()

    @property
    def _may_parse(self) -> bool:
        """Whether the handshake is answered and the application waits for a message."""
        return self.handshake_complete and not self.read_paused

    def _read_on(self) -> None:
        if self._unread and self._may_parse:
            turns_of(self.loop).add(self)
        elif not self._unread and not self.read_paused:
            self.transport.resume_reading()

    def parse(self, data: bytes) -> None:
        """Parse all of the bytes at once."""
        super().data_received(data)
        if self.conn.parts:
            self._count_parts()

    def _count_parts(self) -> None:
        now = self.loop.time()
        left = self._parts - (now - self._parts_at) * PARTS_PER_SECOND
        self._parts, self._parts_at = max(0.0, left) + self.conn.parts, now
        self.conn.parts = 0
        if self._parts > PARTS_AT_ONCE and not self._is_over:
            self.flooded()

    def _drop(self, data: bytes) -> None:
        """After our close frame only the peer's own close frame matters: it ends the connection."""
        self._bytes_after_close += len(data)
        if self._bytes_after_close > BYTES_AFTER_CLOSE:  # a flood is not read
            self.transport.abort()
        else:
            self._look_for_close(data)

    def _look_for_close(self, data: bytes) -> None:
        """Look at the end of the input: a close frame is the last that a peer sends."""
        self._tail = tail = (self._tail + data)[-_MAX_CONTROL_FRAME:]
        for size in range(len(tail) - 5):
            if tail[-6 - size] == 0x88 and tail[-5 - size] == 0x80 | size:
                self.transport.close()
                return
