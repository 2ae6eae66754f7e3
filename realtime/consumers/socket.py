"""One socket's loop over messages, its tasks and timers, its errors, and its end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar, Final, NoReturn

from asgiref.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    WebSocketDisconnectEvent,
    WebSocketReceiveEvent,
)
from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import BaseChannelLayer, get_channel_layer

from realtime import protocol
from realtime.conf import conf
from realtime.consumers.events import Events, fault_of, report
from realtime.delivery.asgi_socket import open_socket
from realtime.delivery.layers import StreamLayer, loop_layer
from realtime.delivery.process_layer import UPDATE, Message
from realtime.delivery.sockets import Socket
from realtime.delivery.totals import totals
from realtime.limits.rates import Allowance
from realtime.protocol import CloseCode, ErrorCode, ProtocolError

logger = logging.getLogger(__name__)

# RFC 6455, section 5.5: a control frame has at most 125 bytes, of which the code takes two.
MAX_REASON_BYTES: Final = 123
# Seconds that a timer may be set ahead; for a later time it is set again.
MAX_TIMER_SECONDS: Final = 86_400.0
_OF_CLIENTS: Final = ("websocket.connect", "websocket.receive", "websocket.disconnect")


class Refused(Exception):
    """Raised inside a handler once the client has been told the reason and the socket is closed."""


class SocketConsumer(AsyncJsonWebsocketConsumer):
    """A JSON consumer that answers bad messages instead of failing.

    `stream_layer` is the channel layer if it is one of this project's, with offsets and history.
    """

    # Events of the channel layer that have a handler, and their fields.
    events: ClassVar[Events] = {UPDATE: {"text": str}}
    channel_layer: BaseChannelLayer
    stream_layer: StreamLayer | None
    scope: Any  # a session.connection.SocketScope
    socket: Socket

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.ended = False
        self.invalid_messages = Allowance(conf.REALTIME_MAX_INVALID_PER_MINUTE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def endpoint(self) -> str:
        """What clients connect to, in metrics."""
        return "unknown"

    @property
    def numbered(self) -> bool:
        """Whether updates have offsets."""
        return self.stream_layer is not None

    def count_refused(self, code: CloseCode) -> None:
        """Count the end of a connection that was never served."""
        totals.count("refused", self.endpoint, str(int(code)))

    # The ASGI application ---------------------------------------------------------------------

    async def __call__(
        self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        self.socket = open_socket(scope, send, conf.REALTIME_OUTBOX_BYTES, self._on_slow_consumer)
        self.stream_layer = loop_layer(get_channel_layer(self.channel_layer_alias))
        totals.count("handshakes", self.endpoint)
        try:
            if self.stream_layer is None:
                await super().__call__(scope, receive, send)
            else:
                await self._run(self.stream_layer, scope, receive, send)
        finally:
            self.release()

    async def _run(
        self, layer: StreamLayer, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Loop over the client's messages; events of the layer come by callback.

        The generic loop makes two tasks per event, for every socket.
        """
        self.scope = scope
        self.base_send = send
        self.channel_layer = layer
        self.channel_name = await layer.new_channel()
        layer.attach(self.channel_name, self._on_layer_event)
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass

    async def dispatch(self, message: Any) -> None:
        # Like the base class, but without its hop to a thread that closes database connections:
        # realtime.db.in_database, through which all access to the database goes, does that itself.
        if message.get("type") in _OF_CLIENTS:
            await getattr(self, get_handler_name(message))(message)
        else:
            handling = self._handling(message)
            if handling is not None:
                await handling

    def _on_layer_event(self, event: Message) -> None:
        handling = self._handling(event)
        if handling is not None:
            self.spawn(handling)

    def _handling(self, event: Message) -> Coroutine[object, object, None] | None:
        """The handler of a channel-layer event: one of `events`, never another method."""
        fault = fault_of(event, self.events)
        if fault is not None:
            report(fault)
            return None
        handling: Coroutine[object, object, None] = getattr(self, get_handler_name(event))(event)
        return handling

    def release(self) -> None:
        """Release the socket's resources. Runs at least once, however the connection ended."""
        self.ended = True
        self.socket.close()
        for timer in self._timers.values():
            timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self.stream_layer is not None and getattr(self, "channel_name", None) is not None:
            self.stream_layer.detach(self.channel_name)

    async def websocket_connect(self, message: object) -> None:
        await self.guarded(self.connect, fatal=True)

    async def accept(
        self, subprotocol: str | None = None, headers: list[tuple[str, str]] | None = None
    ) -> None:
        try:
            await super().accept(subprotocol, headers)
        except OSError as exc:  # ASGI servers raise it when the peer did not wait for the answer
            raise StopConsumer from exc

    async def websocket_disconnect(self, message: WebSocketDisconnectEvent) -> None:
        raise StopConsumer

    async def websocket_receive(self, message: WebSocketReceiveEvent) -> None:
        text = message.get("text")
        size = len(message.get("bytes") or b"") if text is None else len(text.encode())
        if size > conf.REALTIME_MAX_MESSAGE_BYTES:
            # `manage.py serve` refuses these itself; other servers may have a higher limit.
            await self.end(CloseCode.MESSAGE_TOO_BIG, "message too big")
            return
        if text is None:
            self.invalid(
                ProtocolError(
                    ErrorCode.INVALID_MESSAGE, "a binary frame; send JSON as a UTF-8 text frame"
                )
            )
            return
        try:
            content = protocol.parse(text)
        except ProtocolError as exc:
            self.invalid(exc)
            return
        await self.guarded(lambda: self.receive_message(content))

    async def receive_message(self, message: protocol.AnyClientMessage) -> None:
        """Handle one well-formed message; raises ProtocolError."""
        raise NotImplementedError

    # Tasks and timers -------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        """Run a coroutine beside the message loop; it is cancelled when the socket closes."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        exc = None if task.cancelled() else task.exception()
        if exc is not None and not isinstance(exc, Refused | StopConsumer):
            logger.error("a task of a socket failed", exc_info=exc)

    def timer(self, name: str, delay: float, work: Callable[[], Awaitable[None]]) -> None:
        """Call `work` once, after `delay` seconds; replaces the timer of this name."""
        self.cancel_timer(name)

        def due() -> None:
            if delay > MAX_TIMER_SECONDS:
                self.timer(name, delay - MAX_TIMER_SECONDS, work)
            else:
                self.spawn(self.guarded(work))

        loop = asyncio.get_running_loop()
        self._timers[name] = loop.call_later(min(delay, MAX_TIMER_SECONDS), due)

    def cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    # Errors and the end -----------------------------------------------------------------------

    async def guarded(self, work: Callable[[], Awaitable[None]], *, fatal: bool = False) -> None:
        """Run a handler; an exception becomes an `error`, and closes the socket if `fatal`."""
        try:
            await work()
        except ProtocolError as exc:
            self.send_error(exc)
        except Refused:
            pass
        except StopConsumer:
            raise
        except Exception:
            logger.exception("a handler of a socket failed")
            error = ProtocolError(
                ErrorCode.INTERNAL_ERROR, "the server failed; try again", retry=True
            )
            if not fatal:
                self.send_error(error)
            else:
                self.send_last(error)
                await self.end(CloseCode.INTERNAL_ERROR, "the server failed")

    def send_message(self, message: protocol.ServerMessage) -> None:
        self.socket.send(protocol.encode(message))

    def send_error(self, error: ProtocolError) -> None:
        self.send_message(error.error())

    def send_last(self, error: ProtocolError) -> None:
        """Send the reason for the close, which even a slow reader gets before the close frame."""
        self.socket.send_last(protocol.encode(error.error()))

    def invalid(self, error: ProtocolError) -> None:
        """Answer a bad message; too many of them in a minute close the socket."""
        if self.invalid_messages.take() and self.invalid_messages.left:
            self.send_error(error)
        else:
            self.send_last(error)
            self.spawn(self.end(CloseCode.BAD_REQUEST, "too many invalid messages"))

    async def refuse(
        self,
        code: ErrorCode,
        message: str,
        close: CloseCode = CloseCode.UNAUTHORIZED,
        id: str | int | None = None,
        retry_after_ms: int | None = None,
    ) -> NoReturn:
        """Send the reason, close, and end the handler by raising Refused."""
        retry = retry_after_ms is not None
        error = ProtocolError(code, message, id=id, retry=retry, retry_after_ms=retry_after_ms)
        self.send_last(error)
        await self.end(close, message)
        raise Refused

    async def end(self, code: CloseCode, reason: str) -> None:
        """Close the socket, once."""
        if not self.ended:
            self.ended = True
            await self.socket.end(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))

    def _on_slow_consumer(self) -> None:
        error = ProtocolError(
            ErrorCode.SLOW_CONSUMER,
            f"more than {self.socket.outbox.limit} bytes wait for you; read faster, subscribe to "
            "less, or set max_rate",
            retry=True,
        )
        self.send_last(error)
        self.spawn(self.end(CloseCode.SLOW_CONSUMER, "slow consumer"))

    # Events from the channel layer ------------------------------------------------------------

    async def stream_update(self, event: Message) -> None:
        """Send an update that came through a stock channel layer."""
        self.socket.send(event["text"].encode())
