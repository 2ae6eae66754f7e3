"""One server under one load: what the workloads are made of."""

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench import load
from tests.bench.processes import ROOT, BenchError, Usage, usage
from tests.bench.quiet import busy_seconds
from tests.bench.servers import Kind, Place, Running

JOB_SECONDS = 120.0
SESSION_SECONDS = 180.0
# Updates that may be on their way while the most that a server can do is measured: enough to keep
# it busy, few enough for the 100 places of Channels' in-memory queues.
IN_FLIGHT = 10
WARM_UP = 40  # connections before the first measured one

Metrics = dict[str, float]


class PublisherProcess:
    """`publisher.py`, told what to do."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ready = False

    @classmethod
    async def start(cls, running: Running) -> "PublisherProcess":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.publisher", running.publisher, running.target,
            cwd=ROOT, env={**os.environ, **running.environment}, stdin=-1, stdout=-1,
        )  # fmt: skip
        return cls(process)

    async def ready(self) -> None:
        """Until it has imported what it needs, which takes longer than to connect hundreds."""
        if not self._ready:
            await self._answer()
            self._ready = True

    @property
    def pid(self) -> int:
        return self._process.pid

    async def run(self, **job: Any) -> dict[str, Any]:
        await self.ready()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(JOB_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise BenchError("the publisher died; its traceback is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@dataclass
class Session:
    """A server that runs, the sockets that it has, and its publisher."""

    kind: Kind
    running: Running
    place: Place
    tally: load.Tally = field(default_factory=load.Tally)
    clients: list[load.Client] = field(default_factory=list)
    publisher: PublisherProcess | None = None
    published: Counter[str] = field(default_factory=Counter)

    def usage(self) -> Usage:
        return self.running.process.usage()

    def target(self, symbols: Sequence[str], **more: Any) -> load.Target:
        first, awaited = self.kind.opening(symbols)
        return load.Target(self.running.port, self.kind.path(symbols), first, awaited, **more)

    async def connect(self, count: int, symbols: Sequence[str], **more: Any) -> Metrics:
        """More clients; what each cost the server in CPU and (standing idle) in memory."""
        rss, meter = self.usage().rss, Meter(self)
        began = time.monotonic()
        self.clients += await load.connect_many(
            count, self.target(symbols, **more), self.tally, already=len(self.clients)
        )
        seconds = time.monotonic() - began
        await asyncio.sleep(0.3)
        used = meter.stop(count)
        return {
            "connect_us": used["cpu_us"],
            "connect_redis_us": used["redis_us"],
            "connects_per_second": count / seconds,
            "socket_kib": (self.usage().rss - rss) / 1024 / count,
            "others_share": used["others_share"],
        }

    async def warm_up(self, symbols: Sequence[str], **more: Any) -> None:
        """The first connections load modules and open the server's own connections."""
        clients = await load.connect_many(WARM_UP, self.target(symbols, **more), load.Tally())
        await load.close(clients)
        await asyncio.sleep(0.2)

    async def publish(self, symbols: Sequence[str], **job: Any) -> dict[str, Any]:
        """Raises BenchError if the server stops taking updates."""
        assert self.publisher is not None
        answer = await self.publisher.run(symbols=list(symbols), **job)
        if "failed" in answer:
            raise BenchError(f"the server takes no more updates: {answer['failed']}")
        self.published.update(dict.fromkeys(symbols, job["times"]))
        return answer

    async def close(self) -> None:
        if self.publisher is not None:
            await self.publisher.stop()
        await load.close(self.clients)
        self.running.process.stop()


@contextlib.asynccontextmanager
async def session(kind: Kind, place: Place, *, publishes: bool = True) -> AsyncIterator[Session]:
    """A fresh server, for a bounded time."""
    current = Session(kind, kind.start(place), place)
    try:
        async with asyncio.timeout(SESSION_SECONDS):
            if publishes:
                current.publisher = await PublisherProcess.start(current.running)
            yield current
    finally:
        await current.close()


class Meter:
    """CPU of the server, of Redis, of the load and of everybody else over an interval."""

    def __init__(self, current: Session) -> None:
        redis = current.place.valkey.process
        publisher = current.publisher
        self._groups = (
            current.running.process.pids(),
            [] if redis is None else [redis.pid],
            [os.getpid()] if publisher is None else [os.getpid(), publisher.pid],
        )
        self._before = self._read()

    def _read(self) -> list[float]:
        groups = [usage(pids).cpu for pids in self._groups]
        return [time.monotonic(), busy_seconds(), *groups]

    def stop(self, deliveries: int) -> Metrics:
        """Microseconds per delivery (or connection), and shares of one core."""
        seconds, busy, server, redis, own = (
            after - before for after, before in zip(self._read(), self._before, strict=True)
        )
        deliveries = max(1, deliveries)
        return {
            "seconds": seconds,
            "cpu_us": server * 1e6 / deliveries,
            "redis_us": redis * 1e6 / deliveries,
            "server_share": server / seconds,
            "load_share": own / seconds,
            "others_share": max(0.0, busy - server - redis - own) / seconds,
        }


async def measure(
    current: Session, symbols: Sequence[str], rate: float, seconds: float, *, pad: int = 0,
    per_socket: int | None = None, at_once: int = 0,
) -> Metrics:  # fmt: skip
    """Publish at an even pace; count everything that arrives at the sockets.

    `per_socket` is how many of the symbols each socket is subscribed to; all, if not said.
    `at_once` is how many symbols are published by one call; all, if not said.
    """
    # More than one: what arrives from one alone depends on where it fell.
    times = max(2 if rate < 1 else 3, round(rate * seconds))
    job = {"rate": rate, "pad": pad, "at_once": at_once}
    await current.publish(symbols, times=max(1, times // 10), **job)
    await asyncio.sleep(0.3)
    gc.collect()
    gc.disable()
    try:
        current.tally.begin()
        meter = Meter(current)
        await current.publish(symbols, times=times, **job)
        expected = times * (per_socket or len(symbols)) * len(current.clients)
        # One update alone may take a slow server seconds.
        patience = 3.0 + 5.0 * len(current.clients) / current.kind.most
        await load.settle(current.tally, expected, patience)
        metrics = meter.stop(current.tally.received)
    finally:
        gc.enable()
    return {
        **metrics,
        "rate": rate * len(symbols),
        "expected": expected,
        **received(current.tally),
    }


def received(tally: load.Tally) -> Metrics:
    return {
        "received": tally.received,
        "folded": tally.folded,
        "closed": tally.closed,
        "p50_ms": tally.percentile(0.5),
        "p99_ms": tally.percentile(0.99),
        "p999_ms": tally.percentile(0.999),
    }


async def saturate(current: Session, symbols: Sequence[str], seconds: float) -> Metrics:
    """The most deliveries a second: always a few updates on their way, never a long queue."""
    sockets = len(current.clients) * len(symbols)
    sent, batch = 0, IN_FLIGHT // 2
    current.tally.begin()
    meter = Meter(current)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if sent * sockets - current.tally.received - current.tally.folded <= batch * sockets:
            await current.publish(symbols, rate=0, times=batch)
            sent += batch
        else:
            await asyncio.sleep(0.001)
    await load.settle(current.tally, sent * sockets)
    metrics = meter.stop(current.tally.received)
    return {
        "most_per_second": current.tally.received / metrics["seconds"],
        "most_server_share": metrics["server_share"],
        "most_load_share": metrics["load_share"],
        "others_share": metrics["others_share"],
    }
