"""A client of server-sent events, as the specification reads them. Every wait is bounded."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.patience import PATIENCE

Message = dict[str, Any]


class Events:
    """One open answer. `last_id` and `retry` are what a browser would come back with."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.headers = response.headers
        self.last_id = ""
        self.retry = 0
        self.comments: list[str] = []
        self.seen: list[Message] = []
        self._lines = response.aiter_lines()

    async def next(self) -> Message:
        """The next message; raises EOFError at the end of the answer."""
        data = ""
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments.append(line)
                elif line:
                    name, _, value = line.partition(": ")
                    data = self._field(name, value, data)
                elif data:
                    message: Message = json.loads(data)
                    self.seen.append(message)
                    return message
                else:
                    data = ""
        raise EOFError

    def _field(self, name: str, value: str, data: str) -> str:
        if name == "id":
            self.last_id = value
        elif name == "retry":
            self.retry = int(value)
        return value if name == "data" else data

    async def until(self, kind: str, **fields: Any) -> Message:
        while True:
            message = await self.next()
            if message["type"] == kind and message.items() >= fields.items():
                return message

    async def offsets(self, count: int) -> list[int]:
        """Of the next updates."""
        found: list[int] = []
        while len(found) < count:
            offset = (await self.next()).get("offset")
            found += [] if offset is None else [offset]
        return found

    async def ended(self) -> None:
        """Read until the server ends the answer."""
        while True:
            try:
                await self.next()
            except EOFError:
                return

    async def detail(self) -> str:
        """What is said instead of events."""
        text: str = json.loads(await self.response.aread())["detail"]
        return text


@asynccontextmanager
async def listen(url: str, *, method: str = "GET", **headers: str) -> AsyncIterator[Events]:
    """`listen(f"{server.http}/sse/market-data/AAPL", last_event_id=…)`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client,
        client.stream(method, url, headers=sent) as response,
    ):
        yield Events(response)
