"""How many HTTP requests are in work at a time, and which one is next.

Django's views run in threads, which it makes for each request and for as many as come: three
hundred take a quarter of a gigabyte, and the interpreter from the event loop. Here each place has
one thread, and keeps it.
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

# Requests that may wait for each one in work.
WAITING_FOR_EACH: Final = 8
# Seconds for which a full line is not told again.
_QUIET_SECONDS: Final = 60.0


class Line:
    """Requests in work, and behind them those that wait, in order."""

    def __init__(self) -> None:
        self.working = 0
        self._idle: list[ThreadPoolExecutor] = []
        self._waiting: OrderedDict[object, Start] = OrderedDict()
        self._told_at = -_QUIET_SECONDS

    def enter(self, request: object, start: Start) -> bool:
        """Call `start` with a thread when it is this request's turn; False: too many wait."""
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
        """Its peer is gone: it need not be done any more."""
        self._waiting.pop(request, None)

    async def work(
        self,
        thread: ThreadPoolExecutor,
        app: Callable[[Callable[[Message], Awaitable[None]]], Awaitable[None]],
        send: Callable[[Message], Awaitable[None]],
        blocked: Callable[[], bool],
    ) -> None:
        """Run the application; a peer that does not read its answer holds no place."""
        held = True

        async def send_on(message: Message) -> None:
            nonlocal held
            if held and blocked():
                held = False
                self._next(thread)
            await send(message)

        # The context that Django would enter, with a thread that outlives it.
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
    """What `delivery/server_http.py` offers to an answer that goes on and on."""

    transport: asyncio.Transport
    # Called when the server is about to stop.
    on_shutdown: Callable[[], None] | None

    def narrow(self) -> None:
        """Tell soon that the client does not read, rather than keep megabytes for it."""


_passing: Final[list[Callable[[Mapping[str, Any]], bool]]] = []


def let_pass(has: Callable[[Mapping[str, Any]], bool]) -> None:
    """Requests with such scopes are answered on the event loop alone, however long that takes."""
    _passing.append(has)


def passes(scope: Mapping[str, Any]) -> bool:
    return any(has(scope) for has in _passing)
