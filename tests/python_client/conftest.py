"""A server for the tests of the Python client, and a publisher."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from ara_client import Event, Gap, MarketData, Subscription

from realtime.broadcast import abroadcast_many, market_data_update
from tests.live import publish_to
from tests.patience import scaled
from tests.processes import LiveServer
from tests.python_client.proxy import Proxy

_numbers = itertools.count(1)


_PREPARE = """
from datetime import datetime, timedelta, UTC
from realtime.models import Bar
from tests import personas
start = datetime(2024, 1, 2, tzinfo=UTC)
Bar.objects.bulk_create(
    Bar(symbol="BAR/S", interval="1m", source="replay", start=start + n * timedelta(minutes=1),
        open=100 + n, high=110 + n, low=90 + n, close=105 + n, volume=n)
    for n in range(3)
)
scopes = ["predictions", "market-data", "alerts", "publish"]
print(personas.bob_key(name="client", scopes=scopes)[1])
"""


@pytest.fixture(scope="session")
def server(uvicorn: LiveServer) -> LiveServer:
    """The server that other tests of this process share."""
    return uvicorn


@pytest.fixture(scope="session")
def key(server: LiveServer) -> str:
    """An API key with every scope."""
    return server.shell(_PREPARE).strip()


@pytest.fixture
def publishing(server: LiveServer, settings: Any) -> None:
    publish_to(server, settings)


@pytest.fixture
def symbol() -> str:
    """A symbol that no other test uses."""
    return f"PY{next(_numbers)}"


@pytest.fixture
async def proxy(server: LiveServer) -> AsyncIterator[Proxy]:
    """A proxy in front of the server, which does not listen yet."""
    proxy = Proxy(server.port)
    yield proxy
    await proxy.close()


async def publish(symbol: str, *prices: float) -> None:
    await abroadcast_many([market_data_update(symbol, {"price": price}) for price in prices])


class Publisher:
    """Publishes a price about ten times a second, whatever happens to the server."""

    def __init__(self, symbol: str) -> None:
        self._stopping = False
        self._task = asyncio.create_task(self._run(symbol))

    async def _run(self, symbol: str) -> int:
        for number in itertools.count(1):
            await publish(symbol, number)
            if self._stopping:
                return number
            await asyncio.sleep(0.1)
        raise AssertionError

    async def stop(self) -> int:
        """Stop publishing; returns the number of updates."""
        self._stopping = True
        return await self._task


class Listener:
    """Reads all events of a subscription, and counts offsets."""

    def __init__(self, subscription: Subscription[MarketData]) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._run(subscription))

    async def _run(self, subscription: Subscription[MarketData]) -> None:
        async for event in subscription.events():
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    @property
    def offsets(self) -> list[int | None]:
        return [event.offset for event in self.events if isinstance(event, MarketData)]

    def of(self, *kinds: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until the condition is true; raises the error that ended the subscription."""
        waiting = asyncio.create_task(self._wait(condition))
        done, _ = await asyncio.wait(
            [waiting, self._task], timeout=scaled(seconds), return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if self._task in done:
            self._task.result()
        assert waiting in done, f"{len(self.events)} events: {self.events[-3:]}"

    async def _wait(self, condition: Callable[[], object]) -> None:
        async with self._news:
            await self._news.wait_for(condition)

    async def has_all(self, count: int) -> None:
        """Whether every offset from the first to the last came exactly once."""
        await self.until(lambda: self.offsets[-1:] == [count])
        assert self.offsets == list(range(1, count + 1))
        assert self.of(Gap) == []


Fault = Callable[[], Awaitable[None]]
