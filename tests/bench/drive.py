"""One server under one load: what the workloads are made of."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench import load
from tests.bench.processes import ROOT, BenchError, usage
from tests.bench.servers import Kind, Place, Running

JOB_SECONDS = 120.0


class PublisherProcess:
    """`publisher.py`, told what to do."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, running: Running) -> "PublisherProcess":
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.publisher", running.publisher, running.target,
            cwd=ROOT, env=_environment(running), stdin=-1, stdout=-1,
        )  # fmt: skip
        publisher = cls(process)
        await publisher._answer()
        return publisher

    async def run(self, **job: Any) -> dict[str, Any]:
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


def _environment(running: Running) -> dict[str, str]:
    return {**os.environ, **running.environment}


@dataclass
class Session:
    """A server that runs, and the sockets and the publisher that it has."""

    kind: Kind
    running: Running
    place: Place
    tally: load.Tally
    clients: list[load.Client]
    publisher: PublisherProcess | None = None

    async def connect(self, count: int, symbols: Sequence[str], **more: Any) -> None:
        first = awaited = b""
        if self.kind.greets:
            awaited = b'"connected"'
        if self.kind.subscribes and len(symbols) > 1:
            first = json.dumps({"type": "subscribe", "symbols": list(symbols)}).encode()
            awaited = b'"subscribed"'
        self.clients += await load.connect_many(
            count, self.running.port, self.kind.path(symbols), already=len(self.clients),
            tally=self.tally, first=first, awaited=awaited, **more,
        )  # fmt: skip

    async def publish(self, **job: Any) -> dict[str, Any]:
        if self.publisher is None:
            self.publisher = await PublisherProcess.start(self.running)
        return await self.publisher.run(**job)


@contextlib.asynccontextmanager
async def session(kind: Kind, place: Place) -> AsyncIterator[Session]:
    running = kind.start(place)
    current = Session(kind, running, place, load.Tally(), [])
    try:
        yield current
    finally:
        if current.publisher is not None:
            await current.publisher.stop()
        running.process.stop()
        await load.close(current.clients)


@dataclass(frozen=True)
class Fanout:
    """One measured interval. Times in microseconds where not said otherwise."""

    expected: int
    received: int
    folded: int
    seconds: float
    cpu: float  # of the server, per delivery
    redis_cpu: float  # of Redis, per delivery
    server_share: float  # of a core, 0 to 1
    load_share: float
    p50: float  # milliseconds
    p99: float
    p999: float


async def measure(
    current: Session, symbols: Sequence[str], rate: float, seconds: float, pad: str = ""
) -> Fanout:
    """Publish at an even pace; count everything that arrives at the sockets."""
    await current.publish(symbols=list(symbols), rate=rate, times=max(3, int(rate / 5)), pad=pad)
    await asyncio.sleep(0.3)
    pids = current.running.process.pids()
    redis = current.place.valkey.process
    redis_pids = [] if redis is None else [redis.pid]
    current.tally.begin()
    cpu, redis_cpu, own = usage(pids).cpu, usage(redis_pids).cpu, time.process_time()
    began = time.monotonic()
    times = max(1, int(rate * seconds))
    report = await current.publish(symbols=list(symbols), rate=rate, times=times, pad=pad)
    expected = report["sent"] * len(symbols) * len(current.clients)
    await load.settle(current.tally, expected)
    elapsed = time.monotonic() - began
    cpu, redis_cpu = usage(pids).cpu - cpu, usage(redis_pids).cpu - redis_cpu
    own = time.process_time() - own
    received = current.tally.received
    ordered = sorted(current.tally.latencies)
    return Fanout(
        expected, received, current.tally.folded, elapsed,
        cpu * 1e6 / max(1, received), redis_cpu * 1e6 / max(1, received),
        cpu / elapsed, own / elapsed,
        percentile(ordered, 0.5), percentile(ordered, 0.99), percentile(ordered, 0.999),
    )  # fmt: skip


def percentile(ordered: Sequence[int], share: float) -> float:
    """In milliseconds, of sorted nanoseconds."""
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6
