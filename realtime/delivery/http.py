"""The HTTP protocol class of `manage.py serve`: a request has bounds, in size and in time.

uvicorn leaves both to a proxy in front of it. Without one, a header that never ends costs memory
and, since it is put together anew with each piece, the time of everybody; a body fills the disk;
and a client that says nothing holds its connection for ever.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# The request line, the headers, and what else of a request is not its body.
MAX_HEAD_BYTES: Final = 65536
# What a chunk of a chunked body has around it, at most; more than that is counted as head.
_CHUNK_FRAMING: Final = 16
# Seconds for which a refused client may go on sending before the connection is dropped. Dropped at
# once, it would hear of a reset instead of the reason.
LINGER_SECONDS: Final = 2.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._body_bytes = 0
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def handle_websocket_upgrade(self) -> None:
        if not self._refused:
            self._end_deadline()
            super().handle_websocket_upgrade()
            # It was given the whole request. What it still waits for, a body, is no handshake.
            if not getattr(self.transport.get_protocol(), "handshake_initiated", False):
                self.transport.close()

    # What the parser says; after a refusal it may still have the rest of a packet to tell.

    def on_message_begin(self) -> None:
        self._expect_request()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        head = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if head > MAX_HEAD_BYTES:  # and all of it came at once
            self._refuse_head()
        sizes = [value for name, value in self.headers if name == b"content-length"]
        if sizes and int(sizes[0]) > _max_body_bytes():
            self._refuse_body()
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = max(0, self._head_bytes - len(body) - _CHUNK_FRAMING)
        self._body_bytes += len(body)
        if self._body_bytes > _max_body_bytes():
            self._refuse_body()
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            self._end_deadline()
            self._head_bytes = self._body_bytes = 0
            super().on_message_complete()

    # Time -------------------------------------------------------------------------------------

    def _expect_request(self) -> None:
        """From now on the client has so many seconds to send all of a request."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(settings.REALTIME_REQUEST_SECONDS, self._too_late)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        # No answer: who has sent nothing awaits none.
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

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer, read no more, and close."""
        if self._refused:
            return
        self._refused = True
        self._end_deadline()
        self._unset_keepalive_if_required()
        answering = False
        # The application may wait for the rest of the body, or still answer the request before.
        if self.cycle is not None and not self.cycle.response_complete:
            answering = self.cycle.response_started
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if answering or self.transport.is_closing():
            self.transport.close()
            return
        self.transport.write(_answer(status, detail))
        self.flow.resume_reading()
        self._deadline = self.loop.call_later(LINGER_SECONDS, self.transport.close)


def _max_body_bytes() -> float:
    limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return float("inf") if limit is None else limit


def _answer(status: HTTPStatus, detail: str) -> bytes:
    body = json.dumps({"detail": detail}).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
