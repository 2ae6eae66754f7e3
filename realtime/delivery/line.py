"""Limits how many HTTP requests are processed at a time, and queues the others.

Django runs views in threads, one for each request, without a limit: three hundred take a quarter of
a gigabyte, and keep the interpreter from the event loop. Here each place in work keeps one thread.
"""

import asyncio
import logging
import time
import weakref
from asyncio import AbstractEventLoop
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from realtime.conf import conf

logger = logging.getLogger(__name__)

# The key in scope["extensions"] under which a server offers its ResponseStream.
STREAM_EXTENSION: Final = "ara.stream"
Message = TypeVar("Message")
Start = Callable[[ThreadPoolExecutor], None]

# Requests that may wait per request in work.
WAITING_FOR_EACH: Final = 8
# Seconds during which a full line is not logged again.
_QUIET_SECONDS: Final = 60.0


class Line:
    """Requests in work, and those that wait, in order."""

    def __init__(self) -> None:
        self.working = 0
        self._idle: list[ThreadPoolExecutor] = []
        self._waiting: OrderedDict[object, Start] = OrderedDict()
        self._told_at = -_QUIET_SECONDS

    def enter(self, request: object, start: Start) -> bool:
        """Call `start` with a thread when it is this request's turn; False if too many wait."""
        most: int = conf.REALTIME_HTTP_CONCURRENCY
        if self.working < most:
            self.working += 1
            start(self._idle.pop() if self._idle else ThreadPoolExecutor(1, "request"))
        elif len(self._waiting) < WAITING_FOR_EACH * most:
            self._waiting[request] = start
        else:
            self._tell()
            return False
        return True

    def leave(self, request: object) -> None:
        """Leave the line: the peer is gone, so its request need not be served."""
        self._waiting.pop(request, None)

    async def work(
        self,
        thread: ThreadPoolExecutor,
        app: Callable[[Callable[[Message], Awaitable[None]]], Awaitable[None]],
        send: Callable[[Message], Awaitable[None]],
        blocked: Callable[[], bool],
    ) -> None:
        """Run the application; a peer that does not read its answer gives up its place."""
        held = True

        async def send_on(message: Message) -> None:
            nonlocal held
            if held and blocked():
                held = False
                self._next(thread)
            await send(message)

        # The context that Django would enter, but with a thread that outlives it.
        context = ThreadSensitiveContext()
        token = SyncToAsync.thread_sensitive_context.set(context)
        SyncToAsync.context_to_thread_executor[context] = thread
        try:
            await app(send_on)
        finally:
            SyncToAsync.context_to_thread_executor.pop(context, None)
            SyncToAsync.thread_sensitive_context.reset(token)
            if held:
                self._next(thread)

    def _next(self, thread: ThreadPoolExecutor) -> None:
        if self._waiting:
            _, start = self._waiting.popitem(last=False)
            start(thread)
        else:
            self.working -= 1
            self._idle.append(thread)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told_at > _QUIET_SECONDS:
            logger.warning(
                "%d HTTP requests are being handled and %d wait: further ones get 503 "
                "(REALTIME_HTTP_CONCURRENCY)", self.working, len(self._waiting),
            )  # fmt: skip
        self._told_at = now


_lines: "weakref.WeakKeyDictionary[AbstractEventLoop, Line]" = weakref.WeakKeyDictionary()


def line_of(loop: AbstractEventLoop) -> Line:
    """The line of an event loop."""
    line = _lines.get(loop)
    if line is None:
        line = _lines[loop] = Line()
    return line


# Requests that take neither a place nor a thread -----------------------------------------------


class ResponseStream(Protocol):
    """What `delivery/server_http.py` offers to an answer that streams without end."""

    transport: asyncio.Transport
    # Called when the server is about to stop.
    on_shutdown: Callable[[], None] | None

    def narrow(self) -> None:
        """Notice early that the client does not read, instead of buffering megabytes for it."""


_passing: Final[list[Callable[[Mapping[str, Any]], bool]]] = []


def let_pass(has: Callable[[Mapping[str, Any]], bool]) -> None:
    """Exempt requests with matching scopes, which the event loop alone answers."""
    _passing.append(has)


def passes(scope: Mapping[str, Any]) -> bool:
    return any(has(scope) for has in _passing)
