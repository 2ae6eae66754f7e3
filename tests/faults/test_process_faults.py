"""Web processes that die, readers that stall, publishers that race, crowds that come and go."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable

import psutil
import pytest

from tests.follower import Follower
from tests.patience import PATIENCE
from tests.processes import ROOT, LiveServer, process_environment

PUBLISH = """
import sys, time
from realtime.broadcast import broadcast_many, market_data_update
name, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
for number in range(count):
    broadcast_many([market_data_update("AAPL", {"publisher": name, "number": number})])
    time.sleep(pause)
"""


def publisher(
    web: LiveServer, name: str, count: int, pause: float = 0.0
) -> "subprocess.Popen[bytes]":
    """A process of its own that publishes `count` updates of AAPL."""
    code = f"import django; django.setup()\n{PUBLISH}"
    environment = {**web.environment, "DJANGO_SETTINGS_MODULE": "ara_project.settings"}
    return subprocess.Popen(
        [sys.executable, "-c", code, name, str(count), str(pause)],
        cwd=ROOT, env=process_environment(web.directory, environment),
    )  # fmt: skip


async def finished(process: "subprocess.Popen[bytes]") -> None:
    assert await asyncio.to_thread(process.wait, 60) == 0


@pytest.mark.slow
async def test_a_killed_process_and_another_that_takes_over(
    start_server: Callable[..., LiveServer],
) -> None:
    first, second = start_server(), start_server()
    clients = [Follower([first.ws, second.ws], ["AAPL"]) for _ in range(20)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.__aenter__())
    try:
        work = publisher(first, "one", 400, pause=0.005)
        await clients[0].until_offset(100)
        first.kill()
        await finished(work)
        for client in clients:
            await client.until_offset(400)
            client.checker.assert_complete()
            assert client.checker.received("AAPL") == list(range(1, 401))
            assert client.connected == 2
    finally:
        for client in clients:
            await client.__aexit__()


async def test_two_publishers_racing_on_one_stream(
    start_server: Callable[..., LiveServer],
) -> None:
    web = start_server()
    async with Follower([web.ws], ["AAPL"]) as client:
        work = [publisher(web, name, 1000) for name in ("one", "two")]
        for process in work:
            await finished(process)
        await client.until_offset(2000)
        client.checker.assert_complete()
        folded = 2000 - len(client.checker.received("AAPL"))
        assert folded == client.checker.folded


@pytest.mark.slow
async def test_a_stalled_reader_costs_nobody_else(
    start_server: Callable[..., LiveServer],
) -> None:
    web = start_server(REALTIME_HEARTBEAT_INTERVAL="60")
    process = psutil.Process(web.process.pid)
    stalled = _handshake(web)
    assert b"101" in stalled.recv(200)
    try:
        async with Follower([web.ws], ["AAPL"]) as client:
            await finished(publisher(web, "warm", 100))
            await client.until_offset(100)
            before = process.memory_info().rss
            padding = "x" * 4000
            await asyncio.to_thread(
                web.shell,
                "from realtime.broadcast import broadcast_many, market_data_update\n"
                f"broadcast_many([market_data_update('AAPL', {{'number': n, 'pad': '{padding}'}})"
                " for n in range(10000)])",
            )
            await client.until_offset(10100)
            client.checker.assert_complete()
            # 40 MB were published past it; the kernel holds some, the outbox one update.
            assert process.memory_info().rss - before < 16 * 1024 * 1024
        offsets = _read_to_the_end(stalled, 10100)
        assert offsets[-1] == 10100, "it wakes up to the newest update, not to old ones"
        assert len(offsets) < 5000
    finally:
        stalled.close()


@pytest.mark.slow
async def test_a_crowd_that_comes_and_goes_leaves_nothing_behind(
    start_server: Callable[..., LiveServer],
) -> None:
    web = start_server()
    process = psutil.Process(web.process.pid)

    def visit(count: int) -> None:
        for _ in range(count):
            with _handshake(web) as visitor:
                while b'"connected"' not in visitor.recv(65536):
                    pass
                visitor.sendall(b"\x88\x82\0\0\0\0\x03\xe8")  # close, 1000
                while visitor.recv(65536):
                    pass

    async def crowd(total: int) -> None:
        await asyncio.gather(*(asyncio.to_thread(visit, total // 8) for _ in range(8)))

    await crowd(CYCLES // 2)
    before = process.memory_info().rss
    await crowd(CYCLES)
    grown = process.memory_info().rss - before
    assert grown < 2 * 1024 * 1024, f"{grown / CYCLES:.0f} bytes a cycle"
    assert process.num_fds() < 100


CYCLES = int(os.environ.get("CONNECT_CYCLES", "10000"))


def _handshake(web: LiveServer) -> socket.socket:
    """A WebSocket by hand: cheap, and it reads only when it is told to."""
    reader = socket.create_connection(("127.0.0.1", web.port), timeout=PATIENCE)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    reader.sendall(
        f"GET /ws/market-data/AAPL HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return reader


def _read_to_the_end(reader: socket.socket, last: int) -> list[int]:
    """The offsets in what was sent to a stalled reader; each must follow, or say `folded`."""
    data = b""
    wanted = b'"offset":%d' % last
    while wanted not in data:
        chunk = reader.recv(1 << 20)
        assert chunk, "closed before the newest update came"
        data += chunk
    offsets: list[int] = []
    for piece in data.split(b'"offset":')[1:]:
        digits = piece.split(b",")[0].split(b"}")[0]
        if digits.isdigit():
            offsets.append(int(digits))
    return offsets
