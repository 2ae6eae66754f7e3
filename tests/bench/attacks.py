"""(h) One client attacks: what the others notice, and what is left of it afterwards."""

import asyncio
import contextlib
import math
import sys

from tests.bench.attackers import ATTACKS
from tests.bench.drive import Metrics, Session, measure, session
from tests.bench.processes import Process
from tests.bench.servers import Kind, Place
from tests.bench.workloads import Rows, Size

SYMBOL = "AAPL"
SOCKETS = 50
RATE = 100.0
# What `every symbol` reads: as many streams as a market has.
STREAMS = [f"M{number:04}" for number in range(6_000)]
UNDISTURBED = "undisturbed"
# The attack is under way, and what it fills is full.
SETTLE_SECONDS = 2.0
CALM_SECONDS = 3.0


async def attacks(kind: Kind, place: Place, size: Size) -> Rows:
    """Each attack on a server of its own, beside the same server left alone."""
    for name in ATTACKS:
        with contextlib.closing(place.valkey.client()) as client:
            client.flushall()
        async with session(kind, place) as current:
            await current.warm_up([SYMBOL])
            await current.connect(SOCKETS, [SYMBOL])
            if name == "every symbol":
                await current.publish(STREAMS, rate=0, times=1)
            before = await _measure(current, size)
            if name == next(iter(ATTACKS)):
                yield UNDISTURBED, before
            yield name, await _attacked(current, name, before, size)


async def _measure(current: Session, size: Size) -> Metrics:
    return await measure(current, [SYMBOL], RATE, size.seconds * 3)


async def _attacked(current: Session, name: str, before: Metrics, size: Size) -> Metrics:
    """`p99_excess_ms` is what is above twice the undisturbed value; at most 50 is promised."""
    place = current.place
    keys, rss = _keys(place), current.usage().rss
    environment = {"ATTACK_KEY": place.attack_key}
    attacker = Process(
        [sys.executable, "-m", "tests.bench.attackers", name, str(current.running.port)],
        cores=[place.cores.load], log=place.directory / "attacker.log", environment=environment,
    )  # fmt: skip
    try:
        await asyncio.sleep(SETTLE_SECONDS)
        metrics = await _measure(current, size)
    finally:
        attacker.stop()
    await asyncio.sleep(CALM_SECONDS)
    if not metrics["received"]:
        metrics |= dict.fromkeys(("p50_ms", "p99_ms", "p999_ms"), math.inf)
    return {
        **metrics,
        "p99_excess_ms": metrics["p99_ms"] - 2 * before["p99_ms"],
        "p99_ratio": metrics["p99_ms"] / before["p99_ms"],
        "rss_growth_mib": (current.usage().rss - rss) / 2**20,
        "redis_keys": _keys(place) - keys,
    }


def _keys(place: Place) -> int:
    with contextlib.closing(place.valkey.client()) as client:
        return int(client.dbsize())
