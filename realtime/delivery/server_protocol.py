"""The WebSocket protocol class of `manage.py serve`: prepared frames, write buffer, drain.

It adds to uvicorn's own class only what ASGI cannot express: that a frame is ready to be written
unchanged, when the transport is full, and that the server is about to stop.
"""

import asyncio
import random
from typing import Any, Final

from websockets.datastructures import Headers
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import Protocol

from realtime.conf import conf
from realtime.delivery.frames import PARTS_AT_ONCE, PARTS_PER_SECOND, PacedProtocol
from realtime.delivery.narrow import narrow
from realtime.delivery.sockets import PREPARED_EXTENSION, PreparedSocket
from realtime.protocol import CloseCode, Error, ErrorCode, ServerShutdown, encode

# Seconds for which a closed connection waits for the peer's close frame.
CLOSE_SECONDS: Final = 5.0


_TOO_MANY_PARTS: Final = Error(
    code=ErrorCode.RATE_LIMITED,
    message=f"more than {PARTS_PER_SECOND} pings and pongs per second",
    retry=True,
    retry_after_ms=1000 * PARTS_AT_ONCE // PARTS_PER_SECOND,
)


class PreparedProtocol(PacedProtocol):
    """One connection."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.paused = False
        self.socket: PreparedSocket | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        narrow(self.transport)

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            super().data_received(data)
            return
        # The HTTP protocol has parsed this request already. Parsing it a second time, line by line
        # as websockets does, would be a fifth of the cost of a connection.
        request = _request(data)
        if request is None:
            self.parse(data)
            return
        self.conn.parser = Protocol.parse(self.conn)
        next(self.conn.parser)
        self.handle_connect(request)

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[PREPARED_EXTENSION] = self
        await super().run_asgi()

    def handle_ping(self) -> None:
        pong = self.conn.data_to_send()
        # Answers to a peer that does not read would fill the memory.
        if not self.paused:
            self.transport.write(b"".join(pong))

    def handle_cont(self, event: Frame) -> None:
        # Empty fragments escape the limit of a message's size.
        if len(self.frames) >= conf.REALTIME_MAX_MESSAGE_BYTES and not event.fin:
            self.frames = []
            self.end(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            return
        super().handle_cont(event)

    def flooded(self) -> None:
        if self.conn.current_size is not None:
            self.end(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            return
        if self.socket is not None:
            self.socket.send_last(encode(_TOO_MANY_PARTS))
        self.end(CloseCode.LIMIT_EXCEEDED, "too many pings and pongs")

    def handle_close(self, event: Frame) -> None:
        if self.socket is not None:
            self.socket.close()
        super().handle_close(event)
        if self.transport.get_write_buffer_size():
            # The connection ends when the peer has read the rest, which may never happen.
            self._abort_later()

    def handle_parser_exception(self) -> None:
        if self.close_sent:
            return  # input that the peer had sent before it could know
        if self.socket is not None:
            self.socket.close()
        failure = self.conn.close_sent
        if failure is None:  # the peer did not even wait for the answer to its handshake
            self.transport.abort()
            return
        # If closed at once, with more input on its way, the peer would see a reset without a
        # reason.
        self._finish(failure.code, failure.reason)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def send_receive_event_to_app(self) -> None:
        # On invalid UTF-8 uvicorn ends the connection, with a traceback in the log. Passed on as
        # bytes, it is answered like any other bad message.
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.curr_msg_data_type = "bytes"
        super().send_receive_event_to_app()

    def pause_writing(self) -> None:
        self.paused = True
        if self.socket is not None:
            self.socket.pause()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.paused = False
        super().resume_writing()
        if self.socket is not None:
            self.socket.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        super().connection_lost(exc)
        self.forget_input()

    def shutdown(self) -> None:
        """Send `goodbye` with a time for the reconnect, then close after this socket's own delay.

        Otherwise all clients of a stopping server would reconnect to its neighbours at once.
        """
        if self.socket is None or not self.handshake_complete or self.close_sent:
            super().shutdown()
            return
        seconds = conf.REALTIME_DRAIN_SECONDS
        delay = random.uniform(0, seconds)
        reconnect_in_ms = int(random.uniform(0, seconds) * 1000)
        self.socket.send(encode(ServerShutdown(reconnect_in_ms=reconnect_in_ms)))
        self.loop.call_later(delay, self._goodbye)

    def _goodbye(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.end(CloseCode.SERVICE_RESTART, "server restarting")

    def end(self, code: int, reason: str) -> None:
        """Send a close frame after the bytes written so far.

        uvicorn's own `send` would wait until the peer reads, which a slow consumer may never do.
        """
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        if self.socket is not None:
            self.socket.close()
        self.conn.send_close(code, reason)
        self._finish(code, reason)

    def _finish(self, code: int, reason: str) -> None:
        """Write the close frame, and wait for the peer's."""
        self.stop_keepalive()
        self.close_sent = True
        if self.socket is not None:
            self.socket.ended = True
        while not self.queue.empty():  # these requests can no longer be answered
            self.queue.get_nowait()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.read_paused = False
        self.transport.resume_reading()
        self.forget_input()
        # The peer's own close frame ends the connection; if none comes, the timer does.
        self._abort_later()

    def _abort_later(self) -> None:
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)


def _request(data: bytes) -> Request | None:
    """A request as uvicorn's HTTP protocol passes it; None if it needs websockets' own parser."""
    head, end, rest = data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    words = line.split(b" ")
    if not end or rest or len(words) != 3 or words[0] != b"GET":
        return None
    headers = Headers()
    for text in lines:
        name, colon, value = text.partition(b": ")
        if not colon or name in (b"transfer-encoding", b"content-length"):
            return None
        headers[name.decode("latin-1")] = value.decode("latin-1")
    return Request(words[1].decode("ascii"), headers)
