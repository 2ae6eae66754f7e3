"""One client attacks a server; another one's updates come in time. Exactly: `make bench`."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import websockets

from realtime.broadcast import abroadcast_market_data
from tests.delivery.waiting import until
from tests.live import publish_to
from tests.patience import START_SECONDS
from tests.processes import ROOT, LiveServer, Valkey, start_live_server

UPDATES = 150
FLOODS = [
    "empty pings",
    "empty fragments",
    "bad JSON",
    "binary frames",
    "bytes behind a close",
    "bodies in chunks of one byte",
    "pipelined requests",
]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("attacked")
    (directory / "db.sqlite3").write_bytes(migrated_database.read_bytes())
    with Valkey(directory / "valkey") as valkey:
        server = start_live_server("uvicorn", directory, {"REDIS_URL": valkey.url})
        yield server
        server.stop()
        assert "Traceback" not in server.log


@contextlib.asynccontextmanager
async def attack(server: LiveServer, name: str) -> AsyncIterator[None]:
    before = busy_seconds(server)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.attackers", name, str(server.port), cwd=ROOT
    )
    try:
        await until(lambda: busy_seconds(server) > before + 0.3)
        yield
    finally:
        process.kill()
        await process.wait()


def busy_seconds(server: LiveServer) -> float:
    used = psutil.Process(server.process.pid).cpu_times()
    return float(used.user + used.system)


async def latencies(server: LiveServer) -> list[float]:
    """How long each of many updates takes to a client, in order of time."""
    async with websockets.connect(f"{server.ws}/ws/market-data/AAPL", compression=None) as ws:
        await ws.recv()
        reading = asyncio.create_task(_read(ws))
        for _ in range(UPDATES):
            await abroadcast_market_data("AAPL", {"sent": time.monotonic()})
            await asyncio.sleep(0.01)
        async with asyncio.timeout(START_SECONDS):
            return sorted(await reading)


async def _read(ws: Any) -> list[float]:
    found: list[float] = []
    while len(found) < UPDATES:
        message = json.loads(await ws.recv())
        if message["type"] == "market_data_update" and not message.get("snapshot"):
            found.append(time.monotonic() - message["data"]["sent"])
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("redis_layer")
@pytest.mark.parametrize("name", FLOODS)
async def test_updates_come_in_time_beside_a_flood(
    server: LiveServer, settings: Any, name: str
) -> None:
    publish_to(server, settings)
    async with attack(server, name):
        times = await latencies(server)
    assert times[len(times) * 95 // 100] < 0.5


async def test_pipelined_requests_take_no_more_threads_than_places(server: LiveServer) -> None:
    process, most = psutil.Process(server.process.pid), 0
    async with attack(server, "pipelined requests"):
        for _ in range(50):
            most = max(most, process.num_threads())
            await asyncio.sleep(0.02)
    assert most < 30
