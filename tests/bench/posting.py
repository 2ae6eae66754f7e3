"""(i) Publishing over HTTP: what a request, and an update among a thousand, costs the server."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.bench.drive import Metrics
from tests.bench.processes import BenchError, usage
from tests.bench.publisher import market_data
from tests.bench.quiet import busy_seconds
from tests.bench.servers import Kind, Place, Running, start_fastapi_publish

AT_ONCE: Final = 16
MANY: Final = 1_000
WARM_UP_SECONDS: Final = 0.3  # that are not counted
POST_SECONDS: Final = 10.0


async def posting(kind: Kind, place: Place, size: Any) -> AsyncIterator[tuple[str, Metrics]]:
    """(i) One at a time, then by 16 connections, then a thousand updates in each request."""
    running = kind.start(place) if kind.ours else start_fastapi_publish(place)
    try:
        cases = {
            "one at a time": (1, 1),
            f"{AT_ONCE} at a time": (AT_ONCE, 1),
            f"{MANY:,} updates in a request": (1, MANY),
        }
        for case, (at_once, updates) in cases.items():
            body = _body(updates)
            await _post_all(running, place, body, at_once, WARM_UP_SECONDS)
            yield case, await _measure(running, place, body, at_once, updates, size.seconds)
    finally:
        running.process.stop()


def _body(updates: int) -> bytes:
    update = {"type": "market_data_update", "symbol": "AAPL", "data": market_data("")}
    return json.dumps(update if updates == 1 else [update] * updates).encode()


async def _measure(
    running: Running, place: Place, body: bytes, at_once: int, updates: int, seconds: float
) -> Metrics:
    """Microseconds of CPU for each update, milliseconds for each request."""
    redis = [] if place.valkey.process is None else [place.valkey.process.pid]
    began, busy = time.monotonic(), busy_seconds()
    cpu, redis_cpu, own_cpu = running.process.usage().cpu, usage(redis).cpu, time.process_time()
    times = await _post_all(running, place, body, at_once, seconds)
    cpu = running.process.usage().cpu - cpu
    redis_cpu, own_cpu = usage(redis).cpu - redis_cpu, time.process_time() - own_cpu
    wall = time.monotonic() - began
    others = busy_seconds() - busy - cpu - redis_cpu - own_cpu
    return {
        "cpu_us": cpu * 1e6 / len(times) / updates,
        "redis_us": redis_cpu * 1e6 / len(times) / updates,
        "rate": len(times) * updates / wall,
        "p50_ms": statistics.median(times) * 1000,
        "p99_ms": statistics.quantiles(times, n=100)[98] * 1000,
        "others_share": max(0.0, others) / wall,
    }


async def _post_all(
    running: Running, place: Place, body: bytes, at_once: int, seconds: float
) -> list[float]:
    """Seconds that each request took; every connection sends its next one after the answer."""
    head = (
        "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-API-Key: {place.publish_key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def post() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=2**20)
        while (began := time.perf_counter()) < end:
            writer.write(head.encode() + body)
            await _read_answer(reader)
            times.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(post() for _ in range(at_once)))
    return times


async def _read_answer(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(POST_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
    if not head.startswith(b"http/1.1 201"):
        raise BenchError(f"nothing was published: {head.decode()}{body.decode()}")
