"""The interface of a connection that the parts of a session use."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import ClassVar, NoReturn, Protocol, TypedDict

from asgiref.typing import WebSocketScope
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser

from realtime.access.identity import Identity
from realtime.access.roster import Transport
from realtime.delivery.sockets import Socket
from realtime.delivery.updates import Reader
from realtime.protocol import CloseCode, ErrorCode, ProtocolError, ServerMessage
from realtime.streams import Channel, Stream


class UrlRoute(TypedDict):
    """The values that the routing found in the path."""

    kwargs: dict[str, str]


class SocketScope(WebSocketScope, total=False):
    """The ASGI scope of the connection, with the keys that TokenAuthMiddleware adds."""

    url_route: UrlRoute
    user: AbstractBaseUser | AnonymousUser
    auth: Identity
    auth_error: str | None
    auth_unavailable: bool


class Connection(Protocol):
    """One open WebSocket; `socket` sends to its client."""

    connection_id: str
    connected_at: float  # Unix time
    transport: ClassVar[Transport]
    socket: Socket

    @property
    def channel(self) -> Channel: ...

    @property
    def identity(self) -> Identity: ...

    def make_reader(self, stream: Stream, max_rate: float | None) -> Reader | None:
        """The reader between the stream and the socket; None for no reader."""

    def tally(self) -> tuple[int, int, int]:
        """Counters of sent messages: see `delivery.heartbeat.Beating`."""

    def send_message(self, message: ServerMessage) -> None: ...

    def send_error(self, error: ProtocolError) -> None: ...

    def send_last(self, error: ProtocolError) -> None:
        """Send the reason for which the socket is about to be closed."""

    async def refuse(
        self,
        code: ErrorCode,
        message: str,
        close: CloseCode = CloseCode.UNAUTHORIZED,
        id: str | int | None = None,
        retry_after_ms: int | None = None,
    ) -> NoReturn:
        """Send the reason, close, and end the handler."""

    async def end(self, code: CloseCode, reason: str) -> None:
        """Close the socket, once."""

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a handler, and answer the client if it raises."""

    def spawn(self, coroutine: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        """Run a coroutine beside the message loop; it is cancelled when the socket closes."""

    def timer(self, name: str, delay: float, work: Callable[[], Awaitable[None]]) -> None:
        """Call `work` once, after `delay` seconds; replaces the timer of this name."""

    def cancel_timer(self, name: str) -> None: ...
