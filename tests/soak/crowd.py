"""Hundreds of clients that come, go, stall and resume."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tests.follower import RETRY_SECONDS, Follower
from tests.soak.account import Account, Strict
from tests.wire import checked


class Reader(Follower):
    """A follower that can be made to stall, to leave, or to vanish."""

    def __init__(self, account: Account, name: str, urls: Sequence[str], symbols: Sequence[str]):
        super().__init__(urls, symbols)
        self.name = name
        self.checker: Strict = Strict(account, name)
        self.messages = 0
        self.stall = 0.0
        self._ws: ClientConnection | None = None

    async def _on_message(self, ws: ClientConnection, message: dict[str, Any]) -> None:
        self._ws = ws
        self.messages += 1
        stall, self.stall = self.stall, 0.0
        if stall:
            await asyncio.sleep(stall)
        await super()._on_message(ws, message)

    async def leave(self) -> None:
        if self._ws is not None:
            await self._ws.close()

    def vanish(self) -> None:
        if self._ws is not None:
            self._ws.transport.abort()

    @property
    def failure(self) -> BaseException | None:
        """What ended it, if something did: a message that is not as the contract has it."""
        task = self._task
        return task.exception() if task is not None and task.done() else None


class AlertReader:
    """A user's only client for alerts: acknowledges what comes, so that the rest comes again."""

    def __init__(self, urls: Sequence[str], key: str) -> None:
        self.urls = urls
        self.key = key
        self.messages: set[str] = set()

    async def run(self) -> None:
        turn = 0
        while True:
            url = f"{self.urls[turn % len(self.urls)]}/ws/alerts?token={self.key}"
            turn += 1
            with contextlib.suppress(OSError, websockets.WebSocketException):
                async with websockets.connect(url, compression=None) as ws:
                    await self._read(ws)
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, ws: ClientConnection) -> None:
        async for frame in ws:
            message = checked(frame)
            if message["type"] == "ping":
                await ws.send('{"type":"pong"}')
            elif message["type"] == "alert":
                self.messages.add(message["data"]["message"])
                await ws.send(f'{{"type":"ack","ids":["{message["id"]}"]}}')
            elif message["type"] == "gap":
                return  # what is not in the stream any more comes from the inbox


class Crowd:
    def __init__(
        self, account: Account, urls: Sequence[str], symbols: Sequence[str], size: int, seed: int
    ) -> None:
        self._account = account
        self._chance = random.Random(seed)
        self.readers = [
            Reader(account, f"client {number}", self._chance.sample(urls, len(urls)), names)
            for number in range(size)
            for names in [["*"] if number % 20 == 0 else self._chance.sample(symbols, 3)]
        ]
        self.settling = False

    async def come(self) -> None:
        for begin in range(0, len(self.readers), 25):
            part = self.readers[begin : begin + 25]
            await asyncio.gather(*(reader.__aenter__() for reader in part))

    async def churn(self) -> None:
        """Somebody leaves, vanishes or stalls, several times a second."""
        while not self.settling:
            reader = self._chance.choice(self.readers)
            match self._chance.randrange(4):
                case 0:
                    await reader.leave()
                case 1:
                    reader.vanish()
                case _:
                    reader.stall = self._chance.uniform(0.5, 8.0)
            await asyncio.sleep(0.25)

    async def settle(self, heads: dict[str, tuple[str, int]], seconds: float) -> None:
        """Wait until each client is where its streams are; report those that are not."""
        self.settling = True
        late = await until_none(lambda: self._behind(heads), seconds)
        for reader, name, place in late:
            self._account.violated(f"{reader.name} is at {place} of {name}, not at {heads[name]}")
        for reader in self.readers:
            reader.checker.settle()
            if reader.failure is not None:
                self._account.violated(f"{reader.name} gave up: {reader.failure!r}")

    def _behind(self, heads: dict[str, tuple[str, int]]) -> list[tuple[Reader, str, Any]]:
        found = []
        for reader in self.readers:
            for name in heads if reader.symbols == ["*"] else reader.symbols:
                place = reader.checker.epoch.get(name), reader.checker.offset.get(name)
                if place != heads[name]:
                    found.append((reader, name, place))
        return found

    async def go(self) -> None:
        for reader in self.readers:
            with contextlib.suppress(Exception):
                await reader.__aexit__()


async def until_none(found: Callable[[], Any], seconds: float) -> Any:
    """What is still found after so many seconds, or the empty finding before."""
    deadline = asyncio.get_running_loop().time() + seconds
    while (some := found()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    return some
