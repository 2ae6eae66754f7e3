"""Sends to one WebSocket through the ASGI `send` of any server; picks the way to send."""

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from typing import Any, Final

from realtime.delivery.cork import cork_of
from realtime.delivery.outbox import Topic, once_text
from realtime.delivery.sockets import PREPARED_EXTENSION, PreparedSocket, Socket
from realtime.delivery.updates import Update

Send = Callable[[Any], Awaitable[None]]  # an ASGI event

# Texts that one socket sends in one turn of the loop.
TURN_TEXTS: Final = 200
# Seconds for which a goodbye waits for a peer that does not read.
DRAIN_SECONDS: Final = 2.0
# Autobahn, which daphne uses, accepts no enum, and of the codes below 3000 only 1000.
_PLAIN_CODES: Final = {1009: 4400}


class AsgiSocket(Socket):
    """Awaits one `send(...)` after the other, for daphne and every other ASGI server."""

    __slots__ = ("_send", "_task")

    def __init__(self, send: Send, limit: int, on_overflow: Callable[[], None]) -> None:
        super().__init__(limit, on_overflow)
        self._send = send
        self._task: asyncio.Task[None] | None = None

    def deliver(self, update: Update, folded: int = 0) -> None:
        if self.closing:
            return
        if self._task is not None:
            self.outbox.put_update(update, folded)
            if self.outbox.full:
                self._overflow()
        else:
            self._start(update.folded_text(folded) if folded else update.text)

    def send(self, text: bytes) -> None:
        if self.closing:
            return
        if self._task is not None:
            self.outbox.put(text)
            if self.outbox.full:
                self._overflow()
        else:
            self._start(text)

    def send_once(self, topic: Topic, content: bytes | Update, *, replace: bool = False) -> None:
        if self.closing:
            return
        if self._task is not None:
            self.outbox.put_once(topic, content, replace=replace)
            if self.outbox.full:
                self._overflow()
        else:
            self._start(once_text(content))

    def send_last(self, text: bytes) -> None:
        if self._task is not None:
            self.outbox.put(text)
        else:
            self._start(text)

    def send_snapshots(self, updates: Iterable[Update]) -> None:
        if self.closing:
            return
        self.outbox.put_snapshots(updates)
        if self.outbox.full:
            self._overflow()
        elif self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._pump(asyncio.sleep(0)))

    def _start(self, text: bytes) -> None:
        """Send at once if the server takes the text without waiting, else continue in a task."""
        self.sent += 1
        coroutine = _as_coroutine(self._send({"type": "websocket.send", "text": text.decode()}))
        try:
            waiting_for = coroutine.send(None)
        except StopIteration:
            return
        except Exception:
            self.closing = True  # the peer is gone; its disconnect is on the way
            return
        self._task = asyncio.get_running_loop().create_task(
            self._pump(_resume(coroutine, waiting_for))
        )

    async def _pump(self, first: Awaitable[None]) -> None:
        try:
            await first
            turn = self.sent + TURN_TEXTS
            while self.outbox:  # `close` and an overflow clear it
                if self.sent >= turn:
                    turn = self.sent + TURN_TEXTS
                    await asyncio.sleep(0)
                for text in self.outbox.take(1):
                    self.sent += 1
                    await self._send({"type": "websocket.send", "text": text.decode()})
        except asyncio.CancelledError:
            raise
        except Exception:
            self.closing = True  # the peer is gone; its disconnect is on the way
        finally:
            self._task = None

    async def drain(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task], timeout=DRAIN_SECONDS)

    async def end(self, code: int, reason: str) -> None:
        await self.drain()
        self.close()
        for number in (int(code), _PLAIN_CODES.get(code, 1000)):
            with contextlib.suppress(Exception):  # the peer was faster
                await self._send({"type": "websocket.close", "code": number, "reason": reason})
                return


def _as_coroutine(awaitable: Awaitable[None]) -> Coroutine[object, object, None]:
    if isinstance(awaitable, types.CoroutineType):
        return awaitable

    async def run() -> None:
        await awaitable

    return run()


@types.coroutine
def _resume(
    coroutine: Coroutine[object, object, None], pending: object
) -> Generator[object, object, None]:
    """Continue a coroutine that was started by hand and waits for `pending`."""
    while True:
        failure: BaseException | None = None
        try:
            value = yield pending
        except BaseException as exc:
            failure = exc
        try:
            pending = coroutine.send(value) if failure is None else coroutine.throw(failure)
        except StopIteration:
            return


def open_socket(
    scope: Mapping[str, Any], send: Send, limit: int, on_overflow: Callable[[], None]
) -> Socket:
    """The fastest way to send that the server offers for this connection."""
    peer = (scope.get("extensions") or {}).get(PREPARED_EXTENSION)
    if peer is not None:
        return PreparedSocket(peer, limit, on_overflow, cork_of(asyncio.get_running_loop()))
    return AsgiSocket(send, limit, on_overflow)
