"""Random bytes at `manage.py serve`: it lives, says nothing of an error, and serves the others."""

import asyncio
import contextlib
import os
import random
import re
import socket as network
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from realtime.broadcast import abroadcast_market_data
from tests.clients import Socket, wait_for
from tests.delivery.random_bytes import Noise
from tests.live import publish_to
from tests.patience import PATIENCE
from tests.processes import LiveServer, Valkey, start_live_server

# In the tests; `make fuzz` asks for more.
CONVERSATIONS = 2 * int(os.environ.get("FUZZ_EXAMPLES", "50"))
RANDOM_SEED = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(10**9)))
AT_ONCE = 20
READ_SECONDS = 0.3
STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("noise")
    (directory / "db.sqlite3").write_bytes(migrated_database.read_bytes())
    with Valkey(directory / "valkey") as valkey:
        server = start_live_server("uvicorn", directory, {"REDIS_URL": valkey.url})
        yield server
        server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, RANDOM_SEED], ids=["fixed", "random"])
async def test_random_bytes_harm_nobody(server: LiveServer, settings: Any, seed: int) -> None:
    publish_to(server, settings)
    witness = await Socket.open(f"{server.ws}/ws/market-data/WITNESS")
    statuses = await talk(server, seed)
    assert statuses.isdisjoint({500, 502, 503}), f"seed {seed}: {statuses}"
    await abroadcast_market_data("WITNESS", {"price": seed})
    await witness.until("market_data_update", data={"price": seed})
    await witness.leave()
    await wait_for(lambda: asyncio.sleep(0, not connections(server)))
    problems = [
        line for line in server.log.splitlines() if "Traceback" in line or " ERROR " in line
    ]
    assert problems == [], f"seed {seed}"


async def talk(server: LiveServer, seed: int) -> set[int]:
    """Have the conversations of this seed; the HTTP statuses of their answers."""
    noise, statuses = Noise(seed), set[int]()
    places = asyncio.Semaphore(AT_ONCE)

    async def converse(request: bytes, pieces: list[bytes], end: str) -> None:
        async with places, asyncio.timeout(PATIENCE):
            answer = await exchange(server.port, request, pieces, end)
        statuses.update(int(status) for status in STATUS.findall(answer[:20]))

    async with asyncio.TaskGroup() as group:
        for _ in range(CONVERSATIONS):
            group.create_task(converse(*noise.conversation(), noise.end()))
    return statuses


async def exchange(port: int, request: bytes, pieces: list[bytes], end: str) -> bytes:
    """What the server answers; it may end the connection at any time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(OSError):
        writer.write(request)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        await writer.drain()
        if end == "half":
            writer.write_eof()
        answer = await read(reader)
    with contextlib.suppress(OSError):  # the server may have ended it
        if end == "reset":
            raw = writer.get_extra_info("socket")
            raw.setsockopt(network.SOL_SOCKET, network.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answer


async def read(reader: asyncio.StreamReader) -> bytes:
    """What comes before the end, or before a pause."""
    answer = b""
    with contextlib.suppress(TimeoutError):
        while chunk := await asyncio.wait_for(reader.read(65_536), READ_SECONDS):
            answer += chunk
    return answer


def connections(server: LiveServer) -> list[str]:
    """The state of each connection of clients that the server has not let go."""
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return [each.status for each in found if each.laddr.port == server.port and each.raddr]
