"""Server-sent events: the consumers of the WebSockets behind plain HTTP, one way.

To a consumer a request is a WebSocket from which nothing comes; what it sends leaves as events.
So admission, resume, limits, folding, revocation and drain are those of the sockets.
"""

import asyncio
import json
import random
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec
from django.core.handlers.asgi import get_script_prefix

from realtime.api.cors import answer_headers
from realtime.delivery.event_stream import HEARTBEAT, EventStream
from realtime.delivery.line import STREAM_EXTENSION, ResponseStream, let_pass
from realtime.protocol import Error, ErrorCode, Position
from realtime.routing import PEER, one_way_application, prefixes

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

_OURS: Final = r"sse/(?P<channel>predictions|market-data|alerts)(?:/(?P<symbol>(?s:.*)))?"
# Milliseconds after which a client comes back when its connection broke: not all at once.
RETRY_MS: Final = (1000, 4000)
# Seconds for which the end of an answer waits for a client that does not read.
CLOSE_SECONDS: Final = 5.0
_ERROR: Final = b'{"type":"error"'
_STATUS: Final = {
    ErrorCode.INVALID_TOKEN: 401,
    ErrorCode.AUTH_REQUIRED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.CONNECTION_LIMIT: 429,
    ErrorCode.RATE_LIMITED: 429,
}
_VARY: Final = (b"vary", b"Origin, Authorization, X-API-Key")
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"private, no-store, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would wait until its buffer is full
    _VARY,
]


def events_application_of(others: Application) -> Application:
    """`sse/…` below every prefix at which the project includes `realtime.urls`.

    All other requests go to `others`.
    """
    paths = [re.compile(f"/?{prefix}{_OURS}") for prefix in prefixes()]
    found = _Paths(paths)
    let_pass(found.has)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        match = found.match(scope)
        if match is None:
            await others(scope, receive, send)
        else:
            await _answer(match, scope, receive, send)

    return application


class _Paths:
    """Whether a request is for events."""

    def __init__(self, patterns: list[re.Pattern[str]]) -> None:
        self._patterns = patterns

    def match(self, scope: Mapping[str, Any]) -> re.Match[str] | None:
        path = scope["path"]
        if "sse/" not in path:
            return None
        path = path.removeprefix(str(get_script_prefix(scope) or "").rstrip("/"))
        matches = (pattern.fullmatch(path) for pattern in self._patterns)
        return next((match for match in matches if match), None)

    def has(self, scope: Mapping[str, Any]) -> bool:
        return self.match(scope) is not None


async def _answer(match: re.Match[str], scope: Scope, receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    origin = headers.get(b"origin", b"").decode("latin-1")
    preflight = scope["method"] == "OPTIONS" and b"access-control-request-method" in headers
    cors = [
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in answer_headers(origin, preflight=preflight).items()
    ]
    if preflight:
        await _respond(send, 200, b"", [*cors, _VARY])
    elif scope["method"] != "GET":
        body = _detail("This endpoint is read with GET.")
        await _respond(send, 405, body, [*cors, _VARY, (b"allow", b"GET")])
    else:
        await _Request(scope, receive, send, cors).serve(match["channel"], match["symbol"])


class _Request:
    """One request: `receive` and `send` are those of a WebSocket, as a consumer knows them."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, cors: list[tuple[bytes, bytes]]
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._cors = cors
        self._stream: ResponseStream | None = (scope.get("extensions") or {}).get(STREAM_EXTENSION)
        self._events = EventStream({})
        self._connecting = True
        self._begun = False
        self._refusal = b""  # an error before anything else, which becomes the status

    async def serve(self, channel: str, symbol: str | None) -> None:
        scope = {
            **self._scope,
            "type": "websocket",
            "subprotocols": [],
            "extensions": {},
            "url_route": {"args": (), "kwargs": {"symbol": symbol}},
            PEER: self,
        }
        try:
            await one_way_application(channel)(scope, self.receive, self.send)
        finally:
            self.on_shutdown = None

    # As its consumer's client ------------------------------------------------------------------

    @property
    def on_shutdown(self) -> Callable[[], None] | None:
        return None if self._stream is None else self._stream.on_shutdown

    @on_shutdown.setter
    def on_shutdown(self, callback: Callable[[], None] | None) -> None:
        if self._stream is not None:
            self._stream.on_shutdown = callback

    def begin(self, since: Mapping[str, Position]) -> None:
        self._events = EventStream(since)

    async def receive(self) -> MutableMapping[str, Any]:
        if self._connecting:
            self._connecting = False
            return {"type": "websocket.connect"}
        while (await self._receive())["type"] != "http.disconnect":
            pass  # a body, which nobody reads
        return {"type": "websocket.disconnect", "code": 1005}

    async def send(self, event: MutableMapping[str, Any]) -> None:
        if event["type"] == "websocket.send":
            await self._send_message(event["text"].encode())
        elif event["type"] == "websocket.close":
            await self._close()

    # As HTTP -----------------------------------------------------------------------------------

    async def _send_message(self, text: bytes) -> None:
        body = self._events.event(text) if text else HEARTBEAT
        if not self._begun:
            if text.startswith(_ERROR) and not self._refusal:
                self._refusal = text
                return
            body = await self._begin() + body
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _begin(self) -> bytes:
        """Send the head; returns what comes before the first event."""
        self._begun = True
        if self._stream is not None:
            self._stream.narrow()
        headers = [*_HEADERS, *self._cors]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        first = self._events.event(self._refusal) if self._refusal else b""
        return b"retry: %d\n%b" % (random.randint(*RETRY_MS), first)

    async def _close(self) -> None:
        if not self._begun:
            self._begun = True
            await self._refuse()
            return
        # A client that reads nothing does not keep its connection.
        loop, stream = asyncio.get_running_loop(), self._stream
        giving_up = stream and loop.call_later(CLOSE_SECONDS, stream.transport.abort)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        if giving_up:
            giving_up.cancel()

    async def _refuse(self) -> None:
        headers = [*self._cors, _VARY]
        if not self._refusal:
            body = _detail("The server is restarting; try again.")
            await _respond(self._send, 503, body, [*headers, (b"retry-after", b"1")])
            return
        error = msgspec.json.decode(self._refusal, type=Error)
        status = _STATUS.get(error.code, 400)
        if error.code == ErrorCode.INTERNAL_ERROR:
            status = 503 if error.retry else 500
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="api"'))
        if isinstance(error.retry_after_ms, int):
            headers.append((b"retry-after", b"%d" % (-(-error.retry_after_ms // 1000))))
        body = _detail(error.message, code=error.code)
        await _respond(self._send, status, body, headers)


def _detail(text: str, **more: str) -> bytes:
    return json.dumps({"detail": text, **more}).encode()


async def _respond(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    about = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"private, no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*about, *headers]})
    await send({"type": "http.response.body", "body": body})
