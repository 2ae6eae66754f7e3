"""(g) Alert rules: what an update costs among 100,000 of them, and from a price to the socket."""

import asyncio
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import django
import websockets

from realtime.alerts.evaluator import SymbolMachine, TimedUpdate
from realtime.alerts.rule_state import Rule
from realtime.alerts.rules import parse_rule
from realtime.broadcast import abroadcast_many, market_data_update
from tests.bench.drive import Metrics, session
from tests.bench.processes import BenchError, Process
from tests.bench.servers import Kind, Place

RULES = 100_000
UPDATES = 20_000
# Updates a second through the engine, and how many of them make a rule fire.
RATE = 1_000
FIRING = 20
BATCH = 5
SECONDS = 10
WARM_UP = 2  # seconds that are not counted
ENGINE_SECONDS = 60.0

_MAKE = """
from tests import personas
from realtime.alerts.rule_editing import fill, save_rule
from realtime.alerts.rules import parse_rule
from realtime.models import Alert, AlertRule
# Of the round before.
AlertRule.objects.all().delete()
Alert.objects.all().delete()
alice = personas.alice()
rule = {"symbols": ["ALERT"], "conditions": [{"type": "crosses_above", "value": 100}]}
save_rule(fill(AlertRule(owner=alice), parse_rule(rule)))
print(personas.token(alice))
"""
_READY = """
from realtime.models import AlertProgress
print(AlertProgress.objects.filter(symbol="ALERT").count())
"""


async def alerts(kind: Kind, place: Place, size: object) -> AsyncIterator[tuple[str, Metrics]]:
    """(g) The index alone, then an engine between the publisher and a socket."""
    yield f"{RULES:,} rules on one symbol", await asyncio.to_thread(evaluate)
    yield f"{RATE:,} updates a second", await fire(kind, place)


def evaluate(rules: int = RULES, updates: int = UPDATES) -> Metrics:
    """Microseconds of an update that fires none of the rules."""
    chance = random.Random(1)
    machine = SymbolMachine("AAPL")
    for number in range(rules):
        up = number % 2 == 0
        kind = chance.choice(["above", "crosses_above"] if up else ["below", "crosses_below"])
        level = 100 * (1 + chance.uniform(0.002, 0.5) * (1 if up else -1))
        raw = {"symbols": ["AAPL"], "conditions": [{"type": kind, "value": level}]}
        machine.put(Rule(number, 1, None, parse_rule(raw)))
    machine.update(TimedUpdate("market-data", 0, {"price": 100.0}))
    times = []
    price = 100.0
    for at in range(1, updates + 1):
        price = min(100.15, max(99.85, price + chance.gauss(0, 0.05)))
        tick = TimedUpdate("market-data", at, {"price": price, "volume": 1.0})
        began = time.perf_counter()
        fired = machine.update(tick)
        times.append((time.perf_counter() - began) * 1e6)
        if fired:
            raise BenchError("an update fired, and none should")
    return {"mean_us": statistics.fmean(times), "p99_us": _p99(times)}


async def fire(kind: Kind, place: Place) -> Metrics:
    """Milliseconds from publishing a price to the alert on its owner's socket."""
    environment = place.environment()
    token = _shell(environment, _MAKE)
    engine = Process(
        [sys.executable, "manage.py", "run_alerts"], cores=[place.cores.server],
        log=place.directory / "engine.log", environment=environment,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + ENGINE_SECONDS
        while _shell(environment, _READY) != "1":
            if time.monotonic() > deadline:
                raise BenchError("the alert engine did not start")
            await asyncio.sleep(0.2)
        async with session(kind, place) as current:
            url = f"ws://127.0.0.1:{current.running.port}/ws/alerts?token={token}"
            async with websockets.connect(url, compression=None) as socket:
                await socket.recv()
                publisher = _start_publisher(place)
                try:
                    return await _measure(socket)
                except websockets.ConnectionClosed as exc:
                    raise BenchError(f"the client of the alerts was closed: {exc}") from exc
                finally:
                    publisher.stop()
    finally:
        engine.stop()


def _start_publisher(place: Place) -> Process:
    arguments = [str(RATE), str(SECONDS), str(FIRING)]
    return Process(
        [sys.executable, "-m", "tests.bench.alerts", *arguments], cores=[place.cores.load],
        log=place.directory / "prices.log", environment=place.environment(),
    )  # fmt: skip


async def _measure(socket: Any) -> Metrics:
    latencies = []
    async with asyncio.timeout(SECONDS + ENGINE_SECONDS):
        while len(latencies) < SECONDS * FIRING:
            message = json.loads(await socket.recv())
            if message["type"] == "ping":
                await socket.send('{"type":"pong"}')
            elif message["type"] == "alert":
                # The volume of these updates is the time of their publication.
                latencies.append((time.time() - message["data"]["volume"]) * 1000)
    latencies = latencies[WARM_UP * FIRING :]
    return {"p50_ms": statistics.median(latencies), "p99_ms": _p99(latencies)}


async def publish(rate: int, seconds: int, firing: int) -> None:
    """Prices of one symbol, a few at a time; now and then one that crosses the level."""
    every = rate // firing
    began = time.perf_counter()
    for first in range(0, rate * seconds, BATCH):
        updates = []
        for number in range(first, first + BATCH):
            price = 101.0 if number % every == every - 1 else 99.0
            updates.append(market_data_update("ALERT", {"price": price, "volume": time.time()}))
        await abroadcast_many(updates)
        await asyncio.sleep(max(0.0, began + (first + BATCH) / rate - time.perf_counter()))


def _shell(environment: Any, code: str) -> str:
    command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
    result = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def _p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


if __name__ == "__main__":
    django.setup()
    asyncio.run(publish(*(int(text) for text in sys.argv[1:4])))
