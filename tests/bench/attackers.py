"""One attack on a server, as a process of its own: `python -m tests.bench.attackers NAME PORT`.

It goes on until it is killed, `SECONDS` at most. It only ever connects to 127.0.0.1.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Final

import websockets

SECONDS: Final = 60.0
HOST: Final = "127.0.0.1"
CHUNK: Final = 65_536
# A masked frame with the mask 0000: its payload stands as it is.
_MASK: Final = bytes(4)
_PING: Final = b"\x89\x80" + _MASK
_BRACE: Final = b"\x81\x81" + _MASK + b"{"
_BINARY: Final = b"\x82\x80" + _MASK
_CLOSE: Final = b"\x88\x82" + _MASK + b"\x03\xe8"
_FIRST: Final = b"\x01\x80" + _MASK
_FRAGMENT: Final = b"\x00\x80" + _MASK
_HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def _open(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(_HANDSHAKE.format(path="/ws/market-data").encode())
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _swallow(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(CHUNK):
            pass


async def _frames(port: int, first: bytes, frame: bytes) -> None:
    """Write the same frame as fast as the server reads, on one socket after the other."""
    chunk = frame * (CHUNK // len(frame))
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await _open(port)
            swallow = asyncio.create_task(_swallow(reader))
            writer.write(first)
            while not swallow.done():
                writer.write(chunk)
                await writer.drain()
            writer.close()
        await asyncio.sleep(0.01)


async def _small_chunks(port: int) -> None:
    head = (
        b"POST /api/v1/auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, port)
            swallow = asyncio.create_task(_swallow(reader))
            writer.write(head)
            while not swallow.done():
                writer.write(b"1\r\n \r\n" * (CHUNK // 6))
                await writer.drain()
            writer.close()
        await asyncio.sleep(0.01)


async def _pipeline(port: int) -> None:
    request = b"GET /api/v1/predictions/latest?symbol=AAPL HTTP/1.1\r\nHost: localhost\r\n\r\n"
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(request * 300)
            await _swallow(reader)
            writer.close()
        await asyncio.sleep(0.05)


async def _unborn(port: int) -> None:
    numbers = itertools.count(random.randrange(10**9))
    while True:
        with contextlib.suppress(OSError, websockets.WebSocketException):
            async with websockets.connect(f"ws://{HOST}:{port}/ws/market-data") as socket:
                await socket.recv()
                while True:
                    symbols = [f"U{next(numbers)}" for _ in range(100)]
                    for kind in ("subscribe", "unsubscribe"):
                        await socket.send(json.dumps({"type": kind, "symbols": symbols}))
                        while json.loads(await socket.recv())["type"] == "ping":
                            pass
        await asyncio.sleep(0.01)


async def _everything(port: int) -> None:
    """Take a snapshot of every symbol, again and again."""
    while True:
        with contextlib.suppress(OSError, websockets.WebSocketException):
            async with websockets.connect(f"ws://{HOST}:{port}/ws/market-data") as socket:
                await socket.send('{"type": "subscribe", "symbols": ["*"]}')
                async with asyncio.timeout(2):
                    while True:
                        await socket.recv()


async def _requests(port: int) -> None:
    url = f"ws://{HOST}:{port}/ws/predictions/AAPL"
    while True:
        with contextlib.suppress(OSError, websockets.WebSocketException):
            async with websockets.connect(url) as socket:
                await socket.recv()
                for _ in range(60):
                    await socket.send('{"type": "request_prediction"}')
                    await socket.recv()


async def _dry_runs(port: int) -> None:
    key = os.environ["ATTACK_KEY"]
    rule = {"name": "r", "symbols": ["AAPL"], "conditions": [{"type": "above", "value": 1}]}
    body = json.dumps(rule).encode()
    head = (
        f"POST /api/v1/alert-rules/dry-run HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(head.encode() + body)
            await _swallow(reader)
            writer.close()
        await asyncio.sleep(0.01)


# How many of each there are, and what each does.
ATTACKS: Final[dict[str, tuple[int, Callable[[int], Awaitable[None]]]]] = {
    "empty pings": (1, lambda port: _frames(port, b"", _PING)),
    "empty fragments": (4, lambda port: _frames(port, _FIRST, _FRAGMENT)),
    "bad JSON": (4, lambda port: _frames(port, b"", _BRACE)),
    "binary frames": (4, lambda port: _frames(port, b"", _BINARY)),
    "bytes behind a close": (4, lambda port: _frames(port, _CLOSE, _PING)),
    "bodies in chunks of one byte": (4, _small_chunks),
    "pipelined requests": (300, _pipeline),
    "streams that do not exist": (6, _unborn),
    "every symbol": (6, _everything),
    "requested predictions": (6, _requests),
    "dry runs": (12, _dry_runs),
}


async def main(name: str, port: int) -> None:
    count, attack = ATTACKS[name]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(attack(port))


if __name__ == "__main__":
    os.nice(10)  # the readers that are measured come first
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
