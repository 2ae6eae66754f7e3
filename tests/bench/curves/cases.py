"""The curves: what is run at each of their points."""

import asyncio
import contextlib
import json
import math
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import websockets

from realtime.delivery.stream_state import RECENT
from tests.bench.alerts import evaluate
from tests.bench.curves.points import CHECK, Point
from tests.bench.drive import Metrics, Session, measure, session
from tests.bench.processes import BenchError
from tests.bench.servers import KINDS, Kind, Place, Running, start_ara

SOCKETS: Final = (100, 300, 1_000, 3_000, 10_000)
SYMBOLS: Final = (1, 10, 100, 1_000, 5_000)
PROCESSES: Final = (1, 2)
RULES: Final = (1, 10, 100, 1_000, 10_000, 100_000)
HISTORY: Final = (10, 100, 1_000, 5_000)
MOST_ROUNDS: Final = 100.0
# Half of what a server takes, so that none of the points waits in a queue.
DELIVERIES: Final = 25_000
HISTORY_ROUNDS: Final = 200.0
BATCH: Final = 100
RESUMES: Final = 50
STREAM: Final = "HISTORY"


@dataclass(frozen=True)
class Load:
    """Each socket follows one of the symbols; every round publishes an update of each symbol.

    A round is cut into calls of `at_once` updates, evenly spread.
    """

    sockets: int
    symbols: int
    rounds: float
    at_once: int = 1
    processes: int = 1

    def within(self, largest: int) -> "Load":
        sockets = min(self.sockets, largest)
        return replace(self, sockets=sockets, symbols=min(self.symbols, sockets))

    def __str__(self) -> str:
        return (
            f"{self.sockets:,} sockets on {self.symbols:,} symbols, "
            f"{self.symbols * self.rounds:,.0f} updates/s, {self.processes} process(es)"
        )


# Neither is a point of a curve: other numbers of sockets, symbols and updates.
CHECKS: Final = (
    Load(sockets=2_000, symbols=200, rounds=5, at_once=10),
    Load(sockets=1_000, symbols=20, rounds=15, processes=2),
)


@dataclass(frozen=True)
class Scope:
    """How long each point is measured; points above `largest` are left out."""

    seconds: float = 5.0
    largest: int = 100_000

    def up_to_largest(self, values: Sequence[int]) -> list[int]:
        return [value for value in values if value <= self.largest]


Points = AsyncIterator[Point]


async def sockets(place: Place, scope: Scope) -> Points:
    """All on one symbol, at half of the pace that a server can serve."""
    for count in scope.up_to_largest(SOCKETS):
        load = Load(count, 1, min(MOST_ROUNDS, DELIVERIES / count))
        yield Point("sockets", count, str(load), await deliver(load, place, scope))


async def symbols(place: Place, scope: Scope) -> Points:
    """The same sockets and deliveries a second, of ever more streams."""
    for count in scope.up_to_largest(SYMBOLS):
        load = Load(5_000, count, rounds=2, at_once=math.ceil(count / 100)).within(scope.largest)
        yield Point("symbols", count, str(load), await deliver(load, place, scope))


async def processes(place: Place, scope: Scope) -> Points:
    """Each process reads each update; the deliveries are shared."""
    for count in PROCESSES:
        load = Load(500, 50, rounds=40, at_once=10, processes=count).within(scope.largest)
        yield Point("processes", count, str(load), await deliver(load, place, scope))


async def checks(place: Place, scope: Scope) -> Points:
    for number, load in enumerate(CHECKS, 1):
        smaller = load.within(scope.largest)
        metrics = await deliver(smaller, place, scope)
        yield Point(CHECK, number, str(smaller), metrics)


async def rules(place: Place, scope: Scope) -> Points:
    """Of one symbol, none of which fires."""
    for count in scope.up_to_largest(RULES):
        metrics = await asyncio.to_thread(evaluate, count)
        yield Point("rules", count, f"{count:,} rules", metrics)


async def history(place: Place, scope: Scope) -> Points:
    """A full history: an update in Redis, its memory, and a client that resumes from it."""
    for length in scope.up_to_largest(HISTORY):
        with contextlib.closing(place.valkey.client()) as client:
            client.flushall()
        async with session(_with_history(length), place) as current:
            metrics = await _fill(current, length, scope)
            yield Point("history", length, f"{length:,} updates", metrics)


CURVES: Final[dict[str, Callable[[Place, Scope], Points]]] = {
    "sockets": sockets,
    "symbols": symbols,
    "processes": processes,
    "rules": rules,
    "history": history,
    CHECK: checks,
}


async def deliver(load: Load, place: Place, scope: Scope) -> Metrics:
    names = [f"S{number:04}" for number in range(load.symbols)]
    kind = KINDS["ara" if load.processes == 1 else f"ara-{load.processes}"]
    async with session(kind, place) as current:
        await current.warm_up(names[:1])
        paths = [kind.path([name]) for name in names]
        costs = await current.connect(load.sockets, names[:1], paths=paths)
        rss = current.usage().rss
        with _redis_bytes(current) as redis_bytes:
            metrics = await measure(
                current, names, load.rounds, scope.seconds, per_socket=1, at_once=load.at_once
            )
    return {
        **costs, **metrics, **_rates(load, metrics), **redis_bytes,
        "rss_mib": rss / 2**20, "sockets": load.sockets,
        "processes": load.processes, "supervisors": float(load.processes > 1),
    }  # fmt: skip


def _rates(load: Load, metrics: Metrics) -> Metrics:
    """What really happened in a second, which may be less than what was asked for."""
    deliveries = metrics["received"] / metrics["seconds"]
    rounds = deliveries / load.sockets
    return {
        "deliveries": deliveries,
        "updates": rounds * load.symbols,
        "calls": rounds * math.ceil(load.symbols / load.at_once),
        "redis_share": metrics["redis_us"] * deliveries / 1e6,
    }


@contextlib.contextmanager
def _redis_bytes(current: Session) -> Iterator[Metrics]:
    """Bytes that Redis receives for an update, and sends to each process."""
    found: Metrics = {}
    with contextlib.closing(current.place.valkey.client()) as client:
        before, published = client.info("stats"), current.published.total()
        yield found
        after = client.info("stats")
    count = current.published.total() - published
    for way in ("input", "output"):
        name = f"total_net_{way}_bytes"
        share = current.kind.cores if way == "output" else 1
        found[f"redis_{way}_bytes"] = (after[name] - before[name]) / count / share


def _with_history(length: int) -> Kind:
    def start(place: Place) -> Running:
        return start_ara(
            place, "manage.py", "serve", "--port", "{port}",
            REALTIME_HISTORY_LENGTH_MARKET_DATA=str(length),
        )  # fmt: skip

    return replace(KINDS["ara"], start=start)


async def _fill(current: Session, length: int, scope: Scope) -> Metrics:
    await current.publish([STREAM] * BATCH, rate=0, times=math.ceil(length / BATCH) + 1)
    with contextlib.closing(current.place.valkey.client()) as client:
        keys = list(client.scan_iter(f"*{STREAM}*"))
        memory = sum(client.memory_usage(key, samples=0) or 0 for key in keys)
    await current.warm_up([STREAM])
    await current.connect(1, [STREAM])
    metrics = await measure(current, [STREAM], HISTORY_ROUNDS, scope.seconds)
    return {
        **metrics,
        "stream_kib": memory / 1024,
        **await _resume(current, min(length, RECENT)),
    }


async def _resume(current: Session, missed: int) -> Metrics:
    """CPU of a client that was away for so many updates, and when it has them."""
    url = f"ws://127.0.0.1:{current.running.port}/ws/market-data/{STREAM}"
    async with websockets.connect(url, compression=None) as socket:
        head = json.loads(await socket.recv())["streams"][STREAM]
    since = f"?epoch={head['epoch']}&offset={head['offset'] - missed}"
    used = current.usage().cpu
    times = [await _resume_once(url + since, missed) for _ in range(RESUMES)]
    return {
        "resumed": missed,
        "resume_ms": statistics.median(times) * 1000,
        "resume_cpu_ms": (current.usage().cpu - used) * 1000 / RESUMES,
    }


async def _resume_once(url: str, missed: int) -> float:
    began = time.perf_counter()
    async with websockets.connect(url, compression=None) as socket:
        answer = json.loads(await socket.recv())
        if not answer["streams"][STREAM]["recovered"]:
            raise BenchError(f"{missed} updates of the history were not resumed: {answer}")
        for _ in range(missed):
            await socket.recv()
        return time.perf_counter() - began
