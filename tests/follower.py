"""A client that follows the wire contract through faults: resumes, reconnects, looks for tails."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tests.checker import Checker
from tests.wire import checked

RETRY_SECONDS = 0.1


class Follower:
    """Reads streams of one channel from the first of `urls` that answers, until stopped."""

    def __init__(self, urls: Sequence[str], symbols: Sequence[str], path: str = "/ws/market-data"):
        self.urls = list(urls)
        self.symbols = list(symbols)
        self.path = path
        self.checker = Checker()
        self.states: list[dict[str, Any]] = []  # every stream_status
        self.closes: list[int | None] = []
        self.connected = 0
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Follower":
        self._task = asyncio.create_task(self._follow())
        await self.until(lambda: self.connected > 0)
        return self

    async def __aexit__(self, *args: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until a message makes the condition true."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def until_offset(self, offset: int, seconds: float = 30.0) -> None:
        """Wait until every stream was read up to `offset`, or reported as lost up to there."""

        def arrived() -> bool:
            return all(self.checker.offset.get(name, 0) >= offset for name in self.symbols)

        try:
            await self.until(arrived, seconds)
        except TimeoutError:
            raise AssertionError(f"at {self.checker.offset} after {seconds} s") from None

    async def _follow(self) -> None:
        turn = 0
        while True:
            url = self.urls[turn % len(self.urls)]
            try:
                async with websockets.connect(url + self.path, compression=None) as ws:
                    await self._read(ws)
                    self.closes.append(ws.close_code)
            except (OSError, websockets.WebSocketException):
                pass
            turn += 1
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, ws: ClientConnection) -> None:
        await ws.send(json.dumps(self._subscription()))
        async for frame in ws:
            message = checked(frame)
            await self._on_message(ws, message)
            async with self._changed:
                self._changed.notify_all()

    async def _on_message(self, ws: ClientConnection, message: dict[str, Any]) -> None:
        self.checker.feed(message)
        match message["type"]:
            case "subscribed":
                self.connected += 1
            case "stream_status":
                self.states.append(message)
            case "ping":
                await ws.send('{"type":"pong"}')
                if self.checker.behind:
                    await ws.send(json.dumps(self._subscription()))

    def _subscription(self) -> dict[str, Any]:
        since = self.checker.since()
        message: dict[str, Any] = {"type": "subscribe", "symbols": self.symbols}
        return {**message, "since": since} if since else message
