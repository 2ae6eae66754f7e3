"""The load generator: thousands of WebSocket clients in one event loop, for little CPU.

Frames are parsed by hand; nothing is decoded. A measured message carries `@` and 19 digits: the
monotonic clock (one for all processes of a machine) when it was published, in nanoseconds.
"""

import asyncio
import base64
import os
import socket
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Added to the clock, so that it always has 19 digits.
CLOCK_BASE = 10**18
AT = ord("@")
TEXT = 0x81  # a whole text frame
PING = 0x89
CONNECT_SECONDS = 30
AT_ONCE = 40
PER_SOURCE = 20_000  # connections from one loopback address, well below its free ports


def text_frame(text: bytes) -> bytes:
    """A client frame. The mask is zero, which leaves the text as it is."""
    size = len(text)
    head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + text


PONG = text_frame(b'{"type":"pong"}')


class Tally:
    """What a group of clients has received of the messages published since `begin`."""

    def __init__(self) -> None:
        self.since = CLOCK_BASE
        self.received = 0
        self.folded = 0
        self.closed = 0
        self.latencies = array("q")

    def begin(self) -> None:
        """Forget everything; count what is published from now on."""
        self.since = CLOCK_BASE + time.monotonic_ns()
        self.received = self.folded = self.closed = 0
        self.latencies = array("q")

    def percentile(self, share: float) -> float:
        """Latency in milliseconds that this share of the messages did not exceed."""
        if not self.latencies:
            return float("nan")
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6


class Client(asyncio.Protocol):
    """One socket: handshake, opening, then counting."""

    __slots__ = ("_awaited", "_first", "ready", "rest", "tally", "transport")

    transport: Any

    def __init__(self, request: bytes, first: bytes, awaited: bytes, tally: Tally) -> None:
        self.rest = request
        self._first = first
        self._awaited = awaited
        self.tally = tally
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        request, self.rest = self.rest, b""
        transport.write(request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.tally.closed += 1
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"closed before it was ready: {exc}"))

    def data_received(self, data: bytes) -> None:
        if not self.ready.done():
            data = self._opened(self.rest + data)
            if not data:
                return
        now = CLOCK_BASE + time.monotonic_ns()
        if self.rest:
            data = self.rest + data
            self.rest = b""
        tally = self.tally
        size = len(data)
        position = 0
        while size - position >= 2:
            length = data[position + 1]
            start = position + 2
            if length == 126:
                start += 2
                length = int.from_bytes(data[position + 2 : start], "big")
            elif length == 127:
                start += 8
                length = int.from_bytes(data[position + 2 : start], "big")
            stop = start + length
            if stop > size:
                break
            # Only in a text: the bytes of a server's own pings are random.
            at = data.find(AT, start, stop) if data[position] == TEXT else -1
            if at < 0:
                self._other(data[position], data[start:stop])
            else:
                published = int(data[at + 1 : at + 20])
                if published >= tally.since:
                    tally.received += 1
                    tally.latencies.append(now - published)
                    if data.find(b'"folded":', at, stop) > 0:
                        self._count_folded(data[at:stop])
            position = stop
        if position < size:
            self.rest = data[position:]

    def _opened(self, data: bytes) -> bytes:
        """Wait for the response and the awaited message; returns frames that follow."""
        head, end, frames = data.partition(b"\r\n\r\n")
        if end and not head.startswith(b"HTTP/1.1 101"):
            self.ready.set_exception(ConnectionError(head[:200].decode(errors="replace")))
            return b""
        if not end or self._awaited not in frames:
            if end and self._first:
                self.transport.write(self._first)
                self._first = b""
            self.rest = data
            return b""
        self.ready.set_result(None)
        self.rest = b""
        return frames

    def _other(self, head: int, payload: bytes) -> None:
        if head == PING:
            self.transport.write(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)
        elif b'"ping"' in payload:
            self.transport.write(PONG)

    def _count_folded(self, payload: bytes) -> None:
        digits = payload.partition(b'"folded":')[2]
        self.tally.folded += int(digits.partition(b"}")[0].partition(b",")[0])


@dataclass(frozen=True)
class Target:
    """Where clients connect, and what they say. `receive_buffer` in bytes; 0: the system's."""

    port: int
    path: str
    first: bytes = b""  # a message sent after the handshake
    awaited: bytes = b""  # connected when this has come; b"": when the handshake is done
    headers: Sequence[str] = ("",)  # one of them for each client, in turn
    paths: Sequence[str] = ()  # in place of `path`: the same
    receive_buffer: int = 0


async def connect(target: Target, number: int, tally: Tally) -> Client:
    """One client that has received what it awaits; `number` chooses headers and address."""
    key = base64.b64encode(os.urandom(16)).decode()
    headers = target.headers[number % len(target.headers)]
    path = target.paths[number % len(target.paths)] if target.paths else target.path
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"{headers}\r\n"
    ).encode()
    first = text_frame(target.first) if target.first else b""
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setblocking(False)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target.receive_buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, target.receive_buffer)
    if number >= PER_SOURCE:
        raw.bind((f"127.0.0.{number // PER_SOURCE + 1}", 0))
    await loop.sock_connect(raw, ("127.0.0.1", target.port))
    _, client = await loop.create_connection(
        lambda: Client(request, first, target.awaited, tally), sock=raw
    )
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.ready
    except BaseException:
        client.transport.abort()
        raise
    return client


async def connect_many(
    count: int, target: Target, tally: Tally, *, already: int = 0, at_once: int = AT_ONCE
) -> list[Client]:
    """`count` clients, `at_once` of them in the handshake at a time."""
    clients: list[Client] = []
    numbers = iter(range(already, already + count))

    async def work() -> None:
        for number in numbers:
            clients.append(await connect(target, number, tally))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, count)):
            group.create_task(work())
    return clients


async def close(clients: Sequence[Client]) -> None:
    for client in clients:
        client.transport.abort()
    await asyncio.sleep(0.1)


async def settle(tally: Tally, expected: int, patience: float = 3.0) -> None:
    """Until everything has arrived, or nothing more does."""
    seen, since = -1, time.monotonic()
    while tally.received + tally.folded < expected:
        if tally.received != seen:
            seen, since = tally.received, time.monotonic()
        elif time.monotonic() - since > patience:
            return
        await asyncio.sleep(0.02)
