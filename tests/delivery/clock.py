"""Time that passes only when everybody waits for it."""

import asyncio
import selectors
from typing import Any


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: its time jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(NeverWaiting(self))

    def time(self) -> float:
        return self.now


class NeverWaiting(selectors.SelectSelector):
    def __init__(self, loop: ClockLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing is due, and nothing ever will be"
        self.loop.now += max(0.0, timeout)
        return super().select(0)
