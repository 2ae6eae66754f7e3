"""The interface of the connection, as the parts of a session use it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import NoReturn, Protocol, TypedDict

from asgiref.typing import WebSocketScope
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser

from realtime.access.identity import Identity
from realtime.delivery.sockets import Socket
from realtime.delivery.updates import Reader
from realtime.protocol import CloseCode, ErrorCode, ProtocolError, ServerMessage
from realtime.streams import Channel, Stream


class UrlRoute(TypedDict):
    """What the routing found in the path."""

    kwargs: dict[str, str]


class SocketScope(WebSocketScope, total=False):
    """What ASGI says of the connection, with what TokenAuthMiddleware adds."""

    url_route: UrlRoute
    user: AbstractBaseUser | AnonymousUser
    auth: Identity
    auth_error: str | None
    auth_unavailable: bool


class Connection(Protocol):
    """One open WebSocket; `socket` is its way out."""

    connection_id: str
    socket: Socket

    @property
    def channel(self) -> Channel: ...

    @property
    def identity(self) -> Identity: ...

    def make_reader(self, stream: Stream, max_rate: float | None) -> Reader | None:
        """What stands between the stream and the socket; None for nothing."""

    def tally(self) -> tuple[int, int, int]:
        """What was sent: see `delivery.heartbeat.Beating`."""

    def send_message(self, message: ServerMessage) -> None: ...

    def send_error(self, error: ProtocolError) -> None: ...

    def send_last(self, error: ProtocolError) -> None:
        """Say why the socket is closed now."""

    async def refuse(
        self,
        code: ErrorCode,
        message: str,
        close: CloseCode = CloseCode.UNAUTHORIZED,
        id: str | int | None = None,
        retry_after_ms: int | None = None,
    ) -> NoReturn:
        """Say why, close, and end the handler."""

    async def end(self, code: CloseCode, reason: str) -> None:
        """Close the socket, once."""

    async def guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a handler; what it raises is answered."""

    def spawn(self, coroutine: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        """Run beside the message loop; cancelled when the socket closes."""

    def timer(self, name: str, delay: float, work: Callable[[], Awaitable[None]]) -> None:
        """Call `work` once, after `delay` seconds; replaces the timer of this name."""

    def cancel_timer(self, name: str) -> None: ...
