"""Clients for tests, one inside the process and one over a real socket, with one interface.

Every received message is checked against the contract. Every wait is bounded.
"""

import asyncio
import itertools
import json
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from channels.testing import WebsocketCommunicator
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed

from tests import wire
from tests.patience import PATIENCE, scaled
from tests.wire import Message


class Closed(Exception):
    """Raised when the server has closed the socket."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Client(ABC):
    """The common part of both clients. `seen` has every received message, in order."""

    def __init__(self, *, numbered: bool = True) -> None:
        self.numbered = numbered
        self.seen: list[Message] = []
        self._ids = itertools.count(1)

    @abstractmethod
    async def frame(self) -> str | bytes:
        """The next frame; raises Closed."""

    @abstractmethod
    async def send_frame(self, frame: str | bytes) -> None: ...

    @abstractmethod
    async def leave(self) -> None:
        """Close the socket, if it is not closed yet."""

    async def next(self) -> Message:
        message = wire.checked(await self.frame(), numbered=self.numbered)
        self.seen.append(message)
        return message

    async def until(self, kind: str, **fields: Any) -> Message:
        """The next message of this type with these fields; earlier messages are skipped."""
        while True:
            message = await self.next()
            if message["type"] == kind and message.items() >= fields.items():
                return message

    async def send(self, kind: str, **fields: Any) -> None:
        await self.send_frame(json.dumps({"type": kind, **fields}))

    async def ask(self, kind: str, **fields: Any) -> Message:
        """Send a request and return its answer; messages in between stay in `seen`."""
        id = f"request-{next(self._ids)}"
        await self.send(kind, id=id, **fields)
        while True:
            message = await self.next()
            if message.get("id") == id:
                return message

    async def assert_alive(self) -> None:
        answer = await self.ask("status")
        assert answer["type"] == "status"

    async def assert_quiet(self) -> None:
        """Assert that no message waits: the very next one answers a question asked now."""
        before = len(self.seen)
        await self.assert_alive()
        assert self.seen[before:-1] == []

    async def closed(self) -> int:
        """The code with which the server closes; earlier messages are in `seen`."""
        while True:
            try:
                await self.next()
            except Closed as exc:
                return exc.code

    def of_type(self, kind: str) -> list[Message]:
        return [message for message in self.seen if message["type"] == kind]


class InProcess(Client):
    """Through Channels' WebsocketCommunicator, without a server."""

    def __init__(self, application: Any, path: str, *, numbered: bool, **arguments: Any) -> None:
        super().__init__(numbered=numbered)
        self.socket = WebsocketCommunicator(application, path, **arguments)

    async def open(self) -> None:
        accepted, subprotocol_or_code = await self.socket.connect(timeout=PATIENCE)
        assert accepted, f"refused before accept: {subprotocol_or_code}"
        self.subprotocol = subprotocol_or_code

    async def frame(self) -> str | bytes:
        event = await self.socket.receive_output(timeout=PATIENCE)
        if event["type"] == "websocket.close":
            raise Closed(event.get("code", 1000))
        text: str | None = event.get("text")
        return event["bytes"] if text is None else text

    async def send_frame(self, frame: str | bytes) -> None:
        # Not its send_to(), which refuses empty frames.
        kind = "text" if isinstance(frame, str) else "bytes"
        await self.socket.send_input({"type": "websocket.receive", kind: frame})

    async def leave(self) -> None:
        await self.socket.disconnect(timeout=PATIENCE)


class Socket(Client):
    """Over a real socket, with the `websockets` library."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__()
        self.connection = connection

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        subprotocols: Sequence[Any] | None = None,
        **arguments: Any,
    ) -> "Socket":
        connection = await websocket_connect(
            url, additional_headers=headers, subprotocols=subprotocols,
            open_timeout=PATIENCE, close_timeout=PATIENCE, proxy=None, **arguments,
        )  # fmt: skip
        return cls(connection)

    async def frame(self) -> str | bytes:
        try:
            return await asyncio.wait_for(self.connection.recv(), PATIENCE)
        except ConnectionClosed as exc:
            raise Closed(exc.rcvd.code if exc.rcvd else 1006) from None

    async def send_frame(self, frame: str | bytes) -> None:
        await self.connection.send(frame)

    async def leave(self) -> None:
        await self.connection.close()


async def narrow_socket(url: str) -> socket.socket:
    """A connection with a small receive buffer: data that is not read waits in the server."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    host, port = url.removeprefix("ws://").split("/")[0].split(":")
    await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
    return narrow


async def wait_for(
    condition: Callable[[], Awaitable[Any]], *, seconds: float = 30.0, every: float = 0.02
) -> Any:
    """The condition's value once it is true; raises TimeoutError after the (scaled) time."""
    async with asyncio.timeout(scaled(seconds)):
        while True:
            if result := await condition():
                return result
            await asyncio.sleep(every)


# A fixture: opens a socket at a path of the ASGI application.
Open = Callable[..., Awaitable[InProcess]]
