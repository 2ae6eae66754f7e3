"""The workloads: one symbol, bursts of many, connecting, publishing, requested predictions."""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import websockets

from tests.bench import load
from tests.bench.drive import Metrics, measure, saturate, session
from tests.bench.processes import BenchError, Process
from tests.bench.servers import Kind, Place, start_ara

Rows = AsyncIterator[tuple[str, Metrics]]  # the case, and what was measured

SYMBOLS = [f"S{number:02}" for number in range(50)]
BURSTS_PER_SECOND = 10.0
# Longer than this project remembers the lookup of a key, shorter than the note of its use.
CACHE_SECONDS = 6.0
PUBLISHING_SECONDS = 60.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    sockets: int = 500
    many: int = 5_000  # not measured if it is not more than `sockets`
    rate: float = 100.0
    seconds: float = 2.0
    connects: int = 1_000
    predictions: int = 200


Workload = Callable[[Kind, Place, Size], Rows]


async def one_symbol(kind: Kind, place: Place, size: Size) -> Rows:
    """(a) `sockets` on one symbol, then the most that the server can do, then `many`."""
    symbols = ["AAPL"]
    async with session(kind, place) as current:
        await current.warm_up(symbols)
        costs = await current.connect(size.sockets, symbols)
        rate = min(size.rate, kind.most / size.sockets)
        metrics = await measure(current, symbols, rate, size.seconds)
        yield f"{size.sockets:,} sockets", {**costs, **metrics}
        metrics = await saturate(current, symbols, size.seconds)
        yield f"{size.sockets:,} sockets, saturation", metrics
        if size.many > size.sockets:
            costs = await current.connect(size.many - size.sockets, symbols)
            # Half the pace: some servers pay more for each of many.
            rate = min(size.rate, kind.most / size.many / 2)
            metrics = await measure(current, symbols, rate, size.seconds)
            yield f"{size.many:,} sockets", {**costs, **metrics}


async def bursts(kind: Kind, place: Place, size: Size) -> Rows:
    """(b) Each socket on 50 symbols, all of which are published at once."""
    async with session(kind, place) as current:
        await current.connect(size.sockets, SYMBOLS)
        rate = min(BURSTS_PER_SECOND, kind.burst / (size.sockets * len(SYMBOLS)))
        metrics = await measure(current, SYMBOLS, rate, size.seconds)
        yield f"{size.sockets:,} sockets, {len(SYMBOLS)} symbols each", metrics


async def connecting(kind: Kind, place: Place, size: Size) -> Rows:
    """(c) A crowd connects: anonymous, and to this project also with API keys.

    A lookup is remembered for some seconds, and that a key was used is written once a minute. So
    a key for each socket is the worst case, and one key for all the best.
    """
    async with session(kind, place, publishes=False) as current:
        await current.warm_up(["AAPL"])
        yield "anonymous", await current.connect(size.connects, ["AAPL"])
    if kind.name != "ara":
        return
    warm, *keys = key_headers(place)
    async with session(kind, place, publishes=False) as current:
        await current.warm_up(["AAPL"], headers=[warm])
        yield "a key for each", await current.connect(size.connects, ["AAPL"], headers=keys)
        await load.close(current.clients)
        current.clients.clear()
        await asyncio.sleep(CACHE_SECONDS)
        costs = await current.connect(size.connects, ["AAPL"], headers=keys)
        yield "a key for each, used a moment ago", costs
    async with session(kind, place, publishes=False) as current:
        await current.warm_up(["AAPL"], headers=[warm])
        yield "one key for all", await current.connect(size.connects, ["AAPL"], headers=[warm])


def key_headers(place: Place) -> list[str]:
    return [f"X-API-Key: {key}\r\n" for key in place.api_keys]


async def queries(kind: Kind, place: Place, size: Size) -> Rows:
    """(c) Queries and database connections per socket, counted in a server of their own."""
    keys = key_headers(place)
    cases = {"anonymous": [""], "a key for each": keys, "one key for all": keys[:1]}
    for case, headers in cases.items():
        count_file = place.directory / "queries"
        program = ["-m", "tests.bench.counting", "{port}", str(count_file)]
        running = start_ara(place, *program)
        try:
            before = _counts(count_file)
            target = load.Target(running.port, "/ws/market-data/AAPL", b"", b'"connected"', headers)
            clients = await load.connect_many(size.connects, target, load.Tally())
            after = _counts(count_file)
            await load.close(clients)
        finally:
            running.process.stop()
        yield (
            case,
            {
                "queries": (after[0] - before[0]) / size.connects,
                "database_connections": (after[1] - before[1]) / size.connects,
            },
        )


def _counts(path: Path) -> list[int]:
    return [int(text) for text in path.read_text().split()]


async def publishing(kind: Kind, place: Place, size: Size) -> Rows:
    """(e) Publishing from synchronous code, without a server."""
    redis = place.valkey.process
    log = place.directory / "publishing.log"
    # On the server's core, which is idle: Redis has the other one.
    process = Process(
        [sys.executable, "-m", "tests.bench.publishing", str(redis.pid if redis else 0)],
        cores=[place.cores.server], log=log, environment=place.environment(),
    )  # fmt: skip
    try:
        process.popen.wait(PUBLISHING_SECONDS)
        cases: dict[str, Metrics] = json.loads(log.read_text().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        raise BenchError(f"publishing failed: {log.read_text()[-500:]}") from None
    finally:
        process.stop()
    for case, metrics in cases.items():
        yield case, metrics


async def predictions(kind: Kind, place: Place, size: Size) -> Rows:
    """(f) `request_prediction`, one after the other: the answer, and then the prediction."""
    answers, results = [], []
    async with session(kind, place) as current:
        await current.publish(["PRED"], rate=0, times=300)
        url = f"ws://127.0.0.1:{current.running.port}/ws/predictions/PRED"
        async with websockets.connect(url, compression=None) as socket:
            await socket.recv()
            for _ in range(size.predictions):
                began = time.perf_counter()
                await socket.send('{"type":"request_prediction"}')
                answer = json.loads(await socket.recv())
                answers.append(time.perf_counter() - began)
                while (message := json.loads(await socket.recv()))["type"] == "ping":
                    await socket.send('{"type":"pong"}')
                results.append(time.perf_counter() - began)
                kinds = (answer["type"], message["type"])
                assert kinds == ("prediction_requested", "prediction_update"), message
    yield (
        "one client",
        {
            "answer_ms": statistics.median(answers) * 1000,
            "p50_ms": statistics.median(results) * 1000,
            "p99_ms": statistics.quantiles(results, n=100)[98] * 1000,
        },
    )
