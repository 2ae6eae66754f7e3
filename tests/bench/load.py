"""The load generator: thousands of WebSocket clients in one event loop, for little CPU.

Frames are parsed by hand; nothing is decoded. A measured message carries `@` and 19 digits: the
monotonic clock (one for all processes of a machine) when it was published, in nanoseconds.
"""

import asyncio
import base64
import os
import time
from array import array
from collections.abc import Sequence
from typing import Any

# Added to the clock, so that it always has 19 digits.
CLOCK_BASE = 10**18
AT = ord("@")
CONNECT_SECONDS = 30
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
        self.since = CLOCK_BASE + time.monotonic_ns()
        self.received = self.folded = self.closed = 0
        self.latencies = array("q")


class Client(asyncio.Protocol):
    """One socket: handshake, greeting, then counting."""

    __slots__ = ("_awaited", "_first", "ready", "received", "rest", "tally", "transport")

    def __init__(self, request: bytes, first: bytes, awaited: bytes, tally: Tally) -> None:
        self.rest = request
        self._first = first
        self._awaited = awaited
        self.tally = tally
        self.received = 0
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
            data = self._greeted(self.rest + data)
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
            at = data.find(AT, start, stop)
            if at < 0:
                self._other(data[position], data[start:stop])
            else:
                published = int(data[at + 1 : at + 20])
                if published >= tally.since:
                    tally.received += 1
                    self.received += 1
                    tally.latencies.append(now - published)
                    if data.find(b'"folded":', at, stop) > 0:
                        self._count_folded(data[at:stop])
            position = stop
        if position < size:
            self.rest = data[position:]

    def _greeted(self, data: bytes) -> bytes:
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
        if head == 0x89:
            self.transport.write(bytes([0x8A, 0x80 | len(payload)]) + bytes(4) + payload)
        elif b'"ping"' in payload:
            self.transport.write(PONG)

    def _count_folded(self, payload: bytes) -> None:
        digits = payload.partition(b'"folded":')[2]
        self.tally.folded += int(digits.partition(b"}")[0].partition(b",")[0])


async def connect(
    port: int,
    path: str,
    *,
    tally: Tally,
    headers: str = "",
    first: bytes = b"",
    awaited: bytes = b"",
    source: str | None = None,
) -> Client:
    """One client that has received what it awaits (`b""`: the handshake is enough)."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"{headers}\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: Client(request, text_frame(first) if first else b"", awaited, tally),
        "127.0.0.1",
        port,
        local_addr=None if source is None else (source, 0),
    )
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.ready
    except BaseException:
        client.transport.abort()
        raise
    return client


async def connect_many(
    count: int, port: int, path: str, *, already: int = 0, at_once: int = 40,
    headers: Sequence[str] = ("",), tally: Tally, first: bytes = b"", awaited: bytes = b"",
) -> list[Client]:  # fmt: skip
    """`count` clients, `at_once` handshakes at a time. `headers` are taken in turn."""
    clients: list[Client] = []
    numbers = iter(range(already, already + count))

    async def work() -> None:
        for number in numbers:
            source = number // PER_SOURCE
            clients.append(
                await connect(
                    port, path, tally=tally, first=first, awaited=awaited,
                    headers=headers[number % len(headers)],
                    source=f"127.0.0.{source + 1}" if source else None,
                )
            )  # fmt: skip

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
