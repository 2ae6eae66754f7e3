"""The connections of a load test."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import DecodeError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from realtime.loadtest.aims import Aims
from realtime.loadtest.tally import Follower, Received, Tally

# Handshakes at a time.
_AT_ONCE: Final = 50
_OPEN_SECONDS: Final = 30.0
_CLOSE_SECONDS: Final = 2.0
_PONG: Final = '{"type":"pong"}'


class Refused(Exception):
    """The server does not let a connection follow its symbols; says why."""


class Crowd:
    """Connections that follow symbols and count what they receive."""

    def __init__(self, aims: Aims, tally: Tally) -> None:
        self._aims = aims
        self._tally = tally
        self._url = _sockets_of(aims.site)
        self._decoder = msgspec.json.Decoder(Received)
        self._sockets: list[ClientConnection] = []
        self._reading: list[asyncio.Task[None]] = []
        self.followers: list[Follower] = []

    async def connect(self, progress: Callable[[int], None]) -> None:
        """Open all connections, or as many as the server accepts."""
        numbers = iter(range(self._aims.connections))
        places = range(min(_AT_ONCE, self._aims.connections))
        async with asyncio.TaskGroup() as group:
            for _ in places:
                group.create_task(self._connect_some(numbers, progress))

    async def _connect_some(self, numbers: Iterator[int], progress: Callable[[int], None]) -> None:
        for number in numbers:
            began = time.perf_counter()
            try:
                await self._open(self._aims.followed_by(number))
            except (Refused, OSError, TimeoutError, WebSocketException, DecodeError) as exc:
                self._tally.refused[_reason(exc)] += 1
            else:
                self._tally.connected += 1
                self._tally.connecting.add(time.perf_counter() - began)
            progress(1)

    async def _open(self, symbols: list[str]) -> None:
        """One connection that follows these symbols; raises Refused, among others."""
        key = self._aims.key
        socket = await connect(
            self._url, proxy=None, compression=None, ping_interval=None, max_size=None,
            open_timeout=_OPEN_SECONDS, close_timeout=_CLOSE_SECONDS,
            additional_headers={"Authorization": f"Bearer {key}"} if key else None,
        )  # fmt: skip
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                follower = await self._subscribe(socket, symbols)
        except BaseException:
            socket.transport.abort()
            raise
        self._sockets.append(socket)
        self.followers.append(follower)
        self._reading.append(asyncio.create_task(self._read(socket, follower)))

    async def _subscribe(self, socket: ClientConnection, symbols: list[str]) -> Follower:
        await socket.send(msgspec.json.encode({"type": "subscribe", "symbols": symbols}).decode())
        while True:
            message = self._decoder.decode(await socket.recv())
            if message.type == "error":
                raise Refused(f"{message.code}: {message.message}")
            if message.type == "subscribed":
                streams = message.streams or {}
                heads = {name: streams[name].offset for name in symbols if name in streams}
                return Follower(self._tally, heads)

    async def _read(self, socket: ClientConnection, follower: Follower) -> None:
        decode, take, now = self._decoder.decode, follower.take, time.monotonic_ns
        try:
            while True:
                message = decode(await socket.recv())
                if message.type == "market_data_update":
                    take(message, now())
                elif message.type == "ping":
                    await socket.send(_PONG)
        except ConnectionClosed as exc:
            self._tally.closed[_reason(exc)] += 1
        except DecodeError as exc:
            self._tally.closed[f"a message that is not of the protocol: {exc}"] += 1

    async def leave(self) -> None:
        """Close all connections."""
        for task in self._reading:
            task.cancel()
        for socket in self._sockets:
            socket.transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await asyncio.gather(*self._reading, return_exceptions=True)


def _sockets_of(site: str) -> str:
    parts = urlsplit(site)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path}/ws/market-data", "", ""))


def _reason(exc: Exception) -> str:
    """Short, and the same for all connections with the same problem."""
    if isinstance(exc, ConnectionClosed):
        close = exc.rcvd
        return "without a close frame" if close is None else f"{close.code} {close.reason}".strip()
    if isinstance(exc, InvalidStatus):
        body = (exc.response.body or b"")[:200].decode(errors="replace").strip()
        return f"HTTP {exc.response.status_code} {body}".strip()
    if isinstance(exc, DecodeError):
        return "this is not an ARA Realtime server: its messages are not of the protocol"
    if isinstance(exc, TimeoutError):
        return f"no answer within {_OPEN_SECONDS:.0f} s"
    return str(exc) or type(exc).__name__
