"""A transport without a network, for what stands above it."""

import json
from typing import Any

from realtime.delivery.sockets import PreparedSocket


class Transport:
    """What was written, and a `paused` that the test switches."""

    def __init__(self) -> None:
        self.transport: Any = self
        self.paused = False
        self.socket: PreparedSocket | None = None
        self.writes: list[bytes] = []
        self.ended: tuple[int, str] | None = None

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def end(self, code: int, reason: str) -> None:
        self.ended = (code, reason)

    def texts(self) -> list[dict[str, Any]]:
        """The messages in all frames that were written."""
        data, texts = b"".join(self.writes), []
        while data:
            assert data[0] == 0x81, "one final text frame after the other"
            size, begin = data[1], 2
            if size == 126:
                size, begin = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, begin = int.from_bytes(data[2:10], "big"), 10
            texts.append(json.loads(data[begin : begin + size]))
            data = data[begin + size :]
        return texts
