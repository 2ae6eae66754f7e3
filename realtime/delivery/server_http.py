"""The HTTP protocol class of `manage.py serve`, which limits requests in size and time.

uvicorn leaves both to a proxy in front of it. Without a proxy, an endless header takes memory and,
since it is assembled again with each piece, the time of all clients; a body fills the disk; and a
silent client holds its connection for good. uvicorn also processes the requests of all connections
at once, and parses as many pipelined requests as a client sends.
"""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from realtime.conf import conf
from realtime.delivery.files import FileLimit
from realtime.delivery.line import STREAM_EXTENSION, line_of, passes
from realtime.delivery.narrow import narrow
from realtime.delivery.readiness import PROBES
from realtime.delivery.totals import totals
from realtime.delivery.turns import turns_of

# Bytes of the request line, the headers, and everything else outside the body.
MAX_HEAD_BYTES: Final = 65536
# Bytes around a chunk of a chunked body, at most; any more count as part of the head.
_CHUNK_FRAMING: Final = 16
# Seconds for which a refused client may go on sending before the connection is dropped. If it were
# dropped at once, the client would see a reset instead of the reason.
LINGER_SECONDS: Final = 2.0
# Bytes, and pieces of a body, that are parsed at once.
SLICE_BYTES: Final = 1024
SLICES_PER_TURN: Final = 8
PIECES_PER_TURN: Final = 256
# A request starts when all of it has arrived, so that an endless one takes no place in work; only a
# larger body than this is passed to the application piece by piece.
MAX_WAITING_BODY: Final = 4 * 1024 * 1024
_END_OF_HEAD: Final = b"\r\n\r\n"


_NO_ROOM: Final = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "No room for another connection; try again.",
    "retry-after: 5\r\n",
)
_files = FileLimit()


class _Flow(FlowControl):
    """uvicorn's flow control; before it resumes reading, bytes read earlier are parsed."""

    def __init__(self, transport: asyncio.Transport, read_on: Callable[[], None]) -> None:
        super().__init__(transport)
        self._read_on = read_on

    def resume_reading(self) -> None:
        self.read_paused = False
        self._read_on()


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unread = bytearray()
        self._tail = b""  # the last parsed bytes, which may be the beginning of the end of a head
        self._body_left = 0  # bytes still to come
        self._next: tuple[RequestResponseCycle, ASGI3Application] | None = None
        self._head_bytes = 0
        self._body_bytes = 0
        self._pieces = 0
        self._refused = False
        self._upgraded = False
        self.on_shutdown: Callable[[], None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self._read_on)
        self._expect_request()
        raw = transport.get_extra_info("socket")
        if raw is not None and _files.is_reached(raw):
            self._refuse(*_NO_ROOM)
            transport.close()  # not even to linger

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._end_stall()
        self._forget_input()
        line_of(self.loop).leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._unread += data
        if len(self._unread) <= SLICE_BYTES:
            self.take_turn()
        if self._unread and (self._may_parse or len(self._unread) > MAX_HEAD_BYTES):
            self.transport.pause_reading()
            self._read_on()

    def take_turn(self) -> bool:
        """Parse received bytes, at most one turn's share."""
        self._pieces = 0
        for _ in range(SLICES_PER_TURN):
            if not (self._unread and self._may_parse) or self._pieces > PIECES_PER_TURN:
                break
            self._parse_slice()
        more = bool(self._unread) and self._may_parse
        if not more:
            self._read_on()
        return more

    @property
    def _may_parse(self) -> bool:
        """Whether no request waits for its answer, and no body waits to be read."""
        if self._refused or self.flow.read_paused or self.transport.is_closing():
            return False
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _read_on(self) -> None:
        if self._upgraded:
            return
        if self._unread and self._may_parse:
            turns_of(self.loop).add(self)
        elif not self.flow.read_paused and len(self._unread) <= MAX_HEAD_BYTES:
            # Keep reading while a request is in work, to notice when the peer is gone.
            self.transport.resume_reading()

    def _parse_slice(self) -> None:
        """Parse a slice, which never spans the end of one request and the beginning of the next."""
        data = bytes(self._unread[: self._body_left or self._head_in_slice()])
        del self._unread[: len(data)]
        self._body_left = max(0, self._body_left - len(data))
        self._tail = b"" if self._body_left else (self._tail + data)[-3:]
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def _head_in_slice(self) -> int:
        """Up to the end of a head or of a chunked body, if there is one."""
        start = len(self._tail)
        end = (self._tail + self._unread[:SLICE_BYTES]).find(_END_OF_HEAD)
        return SLICE_BYTES if end < 0 else end + len(_END_OF_HEAD) - start

    def _forget_input(self) -> None:
        self._unread = bytearray()

    def handle_websocket_upgrade(self) -> None:
        if not self._refused:
            self._end_deadline()
            self._upgraded = True
            super().handle_websocket_upgrade()
            rest, self._unread = bytes(self._unread), bytearray()
            # Only for whole requests: one that still waits for a body is not a handshake.
            protocol: Any = self.transport.get_protocol()
            if not getattr(protocol, "handshake_initiated", False):
                self.transport.close()
            elif rest:
                protocol.data_received(rest)

    # Callbacks of the parser; after a refusal they may still come for the rest of a packet.

    def on_message_begin(self) -> None:
        self._expect_request()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        head = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if head > MAX_HEAD_BYTES:  # and all of it arrived at once
            self._refuse_head()
        sizes = [value for name, value in self.headers if name == b"content-length"]
        if sizes and int(sizes[0]) > _max_body_bytes():
            self._refuse_body()
        if not self._refused:
            self._body_left = int(sizes[0]) if sizes else 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pieces += 1
        self._head_bytes = max(0, self._head_bytes - len(body) - _CHUNK_FRAMING)
        self._body_bytes += len(body)
        if self._body_bytes > _max_body_bytes():
            self._refuse_body()
        if self._refused:
            return
        if self._next is not None and self._body_bytes <= MAX_WAITING_BODY:
            self.cycle.body += body
        else:
            self._enter_line()
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            self._end_deadline()
            self._head_bytes = self._body_bytes = self._body_left = 0
            super().on_message_complete()
            self._enter_line()

    # Answering --------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Handle a complete head; the body may be on its way, or never come."""
        self._next = cycle, app
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _enter_line(self) -> None:
        if self._next is None:
            return
        cycle, app = self._next
        self._next = None
        if cycle.scope["path"] in PROBES:
            super()._start_asgi_task(cycle, app)
        elif passes(cycle.scope):
            extensions: dict[str, Any] = cycle.scope.setdefault("extensions", {})
            extensions[STREAM_EXTENSION] = self
            super()._start_asgi_task(cycle, app)
        elif not line_of(self.loop).enter(self, lambda thread: self._work(cycle, app, thread)):
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many requests are being handled; try again.",
                "retry-after: 1\r\n",
            )

    def _work(
        self, cycle: RequestResponseCycle, app: ASGI3Application, thread: ThreadPoolExecutor
    ) -> None:
        line = line_of(self.loop)

        async def in_line(
            scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
        ) -> None:
            await line.work(
                thread, partial(app, scope, receive), send, lambda: self.flow.write_paused
            )

        super()._start_asgi_task(cycle, in_line)

    # answers that stream without end: see ResponseStream

    def narrow(self) -> None:
        narrow(self.transport)

    def shutdown(self) -> None:
        super().shutdown()
        if self.on_shutdown is not None:
            self.on_shutdown()

    # Time -------------------------------------------------------------------------------------

    def _expect_request(self) -> None:
        """Give the client so many seconds to send a whole request."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(conf.REALTIME_REQUEST_SECONDS, self._too_late)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pause_writing(self) -> None:
        super().pause_writing()
        # Do not wait much longer for a client that does not read its answer.
        self._stalled = self.loop.call_later(conf.REALTIME_REQUEST_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_stall()

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _too_late(self) -> None:
        # No answer: a client that has sent nothing does not expect one.
        self.transport.close()

    # Refusing ---------------------------------------------------------------------------------

    def _refuse_head(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"The URL and the headers are larger than {MAX_HEAD_BYTES} bytes.",
        )

    def _refuse_body(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The body is larger than DATA_UPLOAD_MAX_MEMORY_SIZE. Send less at a time.",
        )

    def _refuse(self, status: HTTPStatus, detail: str, header: str = "") -> None:
        """Answer, stop reading, and close."""
        if self._refused:
            return
        self._refused = True
        self._next = None
        self._forget_input()
        self._end_deadline()
        self._unset_keepalive_if_required()
        answering = False
        # The application may be waiting for the rest of the body, or answering the request before.
        if self.cycle is not None and not self.cycle.response_complete:
            answering = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if answering or self.transport.is_closing():
            self.transport.close()
            return
        totals.count("refused", "http", str(status.value))
        self.transport.write(_answer(status, detail, header))
        self.flow.resume_reading()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)


def _max_body_bytes() -> float:
    limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return float("inf") if limit is None else limit


def _answer(status: HTTPStatus, detail: str, header: str) -> bytes:
    body = json.dumps({"detail": detail}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{header}connection: close\r\n\r\n"
    )
    return head.encode() + body
