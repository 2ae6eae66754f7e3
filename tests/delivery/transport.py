"""A transport without a network, for what stands above it."""

import json
from typing import Any

from realtime.delivery.sockets import PreparedSocket


class Transport:
    """What was written, and a `paused` that the test switches."""

    def __init__(self) -> None:
        self.transport: Any = self
        self._paused = False
        self.socket: PreparedSocket | None = None
        self.writes: list[bytes] = []
        self.ended: tuple[int, str] | None = None

    @property
    def paused(self) -> bool:
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        # As a transport does: it says when it is full, and the test says when it is not any more.
        self._paused = value
        if value and self.socket is not None:
            self.socket.pause()

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return False

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
