"""The frames that clients send to `manage.py serve`: parsed slice by slice, and counted.

uvicorn parses all that the kernel has at once, which may be forty thousand empty pings.
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
# messages are counted where they are understood, and read no faster than they are.
PARTS_PER_SECOND: Final = 500
PARTS_AT_ONCE: Final = 5000
# What may come behind our close frame: what was on its way.
BYTES_AFTER_CLOSE: Final = 256 * 1024
_MAX_CONTROL_FRAME: Final = 6 + 125


class CountingProtocol(ServerProtocol):
    """The parser, which counts frames and lets a close come between two fragments."""

    frames = 0
    parts = 0  # frames that are not a whole message

    def recv_frame(self, frame: Frame) -> None:
        self.frames += 1
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # as every control frame may; the message is given up
        elif not frame.fin or frame.opcode not in (Opcode.TEXT, Opcode.BINARY):
            self.parts += 1
        super().recv_frame(frame)


class PacedProtocol(WebSocketsSansIOProtocol):
    """One connection; says by `flooded` that too much came."""

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
        """Close: more pings, pongs and fragments came than any client needs."""
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
        """Parse what was received, as far as one turn goes."""
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
        self._read_on()  # what came before the handshake was answered
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._read_on()
        return message

    def forget_input(self) -> None:
        """Our close frame is out, or the peer is gone: nothing more is parsed."""
        unread, self._unread = self._unread, bytearray()
        if unread and self.close_sent:
            self._look_for_close(bytes(unread))

    @property
    def _is_over(self) -> bool:
        return self.close_sent or self.transport.is_closing()

    @property
    def _may_parse(self) -> bool:
        """The handshake is answered, and the application waits for a message."""
        return self.handshake_complete and not self.read_paused

    def _read_on(self) -> None:
        if self._unread and self._may_parse:
            turns_of(self.loop).add(self)
        elif not self._unread and not self.read_paused:
            self.transport.resume_reading()

    def parse(self, data: bytes) -> None:
        """Parse all of it at once."""
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
        """Behind our close nothing is parsed; the peer's own close frame ends the connection."""
        self._bytes_after_close += len(data)
        if self._bytes_after_close > BYTES_AFTER_CLOSE:  # a flood, which is not read
            self.transport.abort()
        else:
            self._look_for_close(data)

    def _look_for_close(self, data: bytes) -> None:
        """It is the last that a peer sends, so it stands at the end."""
        self._tail = tail = (self._tail + data)[-_MAX_CONTROL_FRAME:]
        for size in range(len(tail) - 5):
            if tail[-6 - size] == 0x88 and tail[-5 - size] == 0x80 | size:
                self.transport.close()
                return
