"""What no client should send: handshakes and frames, each a little wrong, from a seed."""

import json
import random
import struct
from collections.abc import Iterator

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
PATHS = ("/ws/market-data/AAPL", "/ws/predictions", "/ws/alerts", "/ws/market-data?symbols=A,B")
MESSAGES = (
    {"type": "ping"},
    {"type": "status"},
    {"type": "subscribe", "symbols": ["AAPL", "*"]},
    {"type": "subscribe", "symbol": "AAPL", "since": {"AAPL": {"epoch": "e", "offset": -1}}},
    {"type": "unsubscribe", "symbols": []},
    {"type": "configure_alerts", "config": {"min_severity": "high"}},
    {"type": "auth", "token": "a.b.c"},
    {"type": "ack", "ids": [1, None, "x"]},
    {"type": ["subscribe"]},
    [[[]]],
    None,
    {"type": "subscribe", "symbols": [["AAPL"], {"a": 1}, 1e400, "\ud800"]},
)
# Where a payload's length begins to be written in 2 bytes and in 8, and limits around them.
SIZES = (0, 1, 2, 124, 125, 126, 127, 1000, 65_535, 65_536, 70_000)
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
# Seldom what ends a conversation at once, or nothing would be said after it.
OPCODES = (*20 * (TEXT,), *3 * (BINARY,), *4 * (PING,), *3 * (PONG,), CLOSE, 0x0, 0x3, 0xF)


class Noise:
    """Conversations of one seed: the same seed makes the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def conversation(self) -> tuple[bytes, list[bytes]]:
        """A request, whole or not, and the pieces in which frames follow it."""
        chance = self._random
        request = handshake(chance.choice(PATHS))
        if chance.random() < 0.3:
            return self._spoilt(request), [chance.randbytes(chance.randrange(200))]
        frames = b"".join(self._frame() for _ in range(chance.randrange(1, 12)))
        if chance.random() < 0.2:
            frames = frames[: chance.randrange(len(frames))]
        return request, list(self._pieces(frames))

    def end(self) -> str:
        """How the client goes: it waits, closes its half, closes, or resets the connection."""
        return self._random.choice(("wait", "half", "close", "reset"))

    def _spoilt(self, request: bytes) -> bytes:
        chance, at = self._random, self._random.randrange(len(request))
        return chance.choice(
            (
                request[:at],
                request[:at] + chance.randbytes(chance.randrange(1, 5)) + request[at:],
                request.replace(b"\r\n", b"\n"),
                request.replace(b"HTTP/1.1", chance.choice((b"HTTP/1.0", b"HTTP/9", b"http"))),
                request.replace(b"GET", chance.choice((b"POST", b"get", b"CONNECT", b"\0"))),
                request.replace(
                    b": 13", chance.choice((b": 8", b": x", b": 13\r\nA: " + 300 * b"b"))
                ),
                request.replace(KEY.encode(), chance.choice((b"", b"AAAA", b"\xff", 90 * b"A"))),
                request.replace(b"Upgrade: websocket\r\n", b"Content-Length: 5\r\n"),
                request.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
                request.replace(
                    b"/ws", chance.choice((b"/%00", b"/ws/%ff", b"//", b"*", 9_000 * b"/a"))
                ),
                request + request,
                chance.randbytes(chance.randrange(1, 400)),
            )
        )

    def _frame(self) -> bytes:
        chance = self._random
        opcode = chance.choice(OPCODES)
        first = opcode | (0x80 if chance.random() < 0.95 else 0)
        if chance.random() < 0.02:
            first |= chance.choice((0x10, 0x20, 0x40))  # no extension is in use
        payload = self._payload(opcode)
        return (
            self._head(first, len(payload)) + payload
            if chance.random() < 0.05
            else (masked(first, payload, chance.randbytes(4)))
        )

    def _head(self, first: int, size: int) -> bytes:
        """Without a mask, or with a length that is not that of the payload."""
        chance = self._random
        declared = chance.choice((size, size + 1, 2**31, 2**63, 2**64 - 1))
        return bytes([first, 0x80 | 127]) + struct.pack("!Q", declared)

    def _payload(self, opcode: int) -> bytes:
        chance = self._random
        if opcode == CLOSE and chance.random() < 0.8:
            return struct.pack("!H", chance.randrange(65_536)) + chance.choice(
                (b"", b"bye", b"\xff")
            )
        if opcode in (TEXT, 0x0) and chance.random() < 0.7:
            return json.dumps(chance.choice(MESSAGES)).encode()[: chance.choice((None, None, 7))]
        if opcode >= CLOSE and chance.random() < 0.8:
            return chance.randbytes(chance.randrange(126))
        return chance.randbytes(chance.choice(SIZES))

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        chance = self._random
        while data:
            size = chance.choice((1, 2, 7, 100, 5_000, len(data)))
            yield data[:size]
            data = data[size:]


def handshake(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def masked(first: int, payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65_536:
        head = bytes([first, 0x80 | 126]) + struct.pack("!H", size)
    else:
        head = bytes([first, 0x80 | 127]) + struct.pack("!Q", size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
