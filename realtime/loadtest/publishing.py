"""The updates of a load test, at an even pace."""

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

import httpx

from realtime.broadcast import PublishFailed, abroadcast_many, market_data_update
from realtime.loadtest.aims import Aims

# How often updates are published, in seconds: those that are due go out together.
_TICK: Final = 0.01
# A request with a list of updates takes longer, ...
_HTTP_TICK: Final = 0.05
# ... and has so many of them at most.
_MOST: Final = 1000
_HTTP_SECONDS: Final = 30.0


class Failed(Exception):
    """Updates were not published; says why."""


class Way(ABC):
    """How updates reach the server."""

    tick: float

    @abstractmethod
    async def publish(self, symbols: Sequence[str], data: dict[str, object]) -> list[int]:
        """Publish the data once for each symbol; the offsets. Raises Failed."""

    @abstractmethod
    async def close(self) -> None:
        """Let connections go."""


class ThroughLayer(Way):
    """Through the channel layer of this project, as views and tasks publish."""

    tick = _TICK

    async def publish(self, symbols: Sequence[str], data: dict[str, object]) -> list[int]:
        try:
            done = await abroadcast_many([market_data_update(symbol, data) for symbol in symbols])
            return [(await each).offset or 0 for each in done]
        except PublishFailed as exc:
            raise Failed(str(exc)) from exc

    async def close(self) -> None:
        """The layer closes its own connections."""


class OverHttp(Way):
    """With `POST /api/v1/publish`; the key needs the scope `publish`."""

    tick = _HTTP_TICK

    def __init__(self, site: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url = f"{site}/api/v1/publish"
        self._client = httpx.AsyncClient(headers=headers, timeout=_HTTP_SECONDS, trust_env=False)

    async def publish(self, symbols: Sequence[str], data: dict[str, object]) -> list[int]:
        body = [{"type": "market_data_update", "symbol": name, "data": data} for name in symbols]
        try:
            answer = await self._client.post(self._url, json=body)
            if answer.status_code >= 300:
                raise Failed(f"HTTP {answer.status_code} {answer.text[:300]}")
            return [each["offset"] for each in answer.json()]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as exc:
            raise Failed(f"{self._url}: {exc or type(exc).__name__}") from exc

    async def close(self) -> None:
        await self._client.aclose()


class Publisher:
    """`published` and `failed` count updates; `heads` has the newest offset of each symbol."""

    def __init__(self, aims: Aims, way: Way, run: str) -> None:
        self._aims = aims
        self._way = way
        self._names = itertools.cycle(aims.names)
        self._data: dict[str, object] = {"run": run, "text": "x" * aims.size}
        self.published = self.failed = 0
        self.seconds = 0.0
        self.problem = ""
        self.heads: dict[str, int] = {}

    async def run(self, stop: asyncio.Event, progress: Callable[[int], None]) -> None:
        """Publish until everything is published, the time is up, or `stop` is set.

        Raises Failed if the very first updates are not published.
        """
        aims, began, sent = self._aims, time.perf_counter(), 0
        total, a_second = aims.updates, aims.rate * aims.symbols
        while sent < total and not stop.is_set():
            self.seconds = time.perf_counter() - began
            if self.seconds > aims.duration:
                break
            due = min(total, int(self.seconds * a_second) + 1, sent + _MOST) - sent
            if due > 0:
                await self._publish([next(self._names) for _ in range(due)])
                sent += due
                progress(due)
            if sent > (time.perf_counter() - began) * a_second:
                await asyncio.sleep(self._way.tick)
        self.seconds = max(time.perf_counter() - began, 1e-9)

    async def _publish(self, symbols: list[str]) -> None:
        data = {**self._data, "at": time.monotonic_ns()}
        try:
            offsets = await self._way.publish(symbols, data)
        except Failed as exc:
            if not self.published:
                raise
            self.failed += len(symbols)
            self.problem = self.problem or str(exc)
        else:
            self.published += len(symbols)
            for symbol, offset in zip(symbols, offsets, strict=False):
                self.heads[symbol] = max(offset, self.heads.get(symbol, 0))
