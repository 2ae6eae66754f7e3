"""Two server processes on one Valkey: a client that changes between them misses nothing."""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from realtime.broadcast import abroadcast_many, asend_alert, market_data_update
from tests.checker import Checker
from tests.clients import Closed, Socket
from tests.live import publish_to
from tests.patience import PATIENCE
from tests.processes import ROOT, LiveServer, process_environment

Start = Callable[..., LiveServer]
Connect = Callable[..., Awaitable[Socket]]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def two_servers(module_servers: Start) -> tuple[LiveServer, LiveServer]:
    return module_servers(), module_servers()


@pytest.fixture(autouse=True)
def _publishing(two_servers: tuple[LiveServer, LiveServer], settings: Any) -> None:
    publish_to(two_servers[0], settings)


@pytest.fixture
def symbol() -> str:
    return f"R{next(_numbers)}"


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A function that opens a socket at a server and feeds its `connected` to a checker."""
    sockets: list[Socket] = []

    async def connect(server: LiveServer, path: str, checker: Checker) -> Socket:
        socket = await Socket.open(server.ws + path)
        sockets.append(socket)
        checker.feed(await socket.next())
        return socket

    yield connect
    for socket in sockets:
        await socket.leave()


async def publish(symbol: str, count: int) -> None:
    await abroadcast_many([market_data_update(symbol, {"number": n}) for n in range(count)])


async def read(client: Socket, checker: Checker, symbol: str, offset: int) -> None:
    """Read until the checker has the update of this offset."""
    while checker.offset.get(symbol, 0) < offset:
        checker.feed(await client.next())


async def resume(client: Socket, checker: Checker, symbol: str) -> dict[str, Any]:
    """Subscribe from the checker's position; returns how that was answered."""
    await client.send("subscribe", symbol=symbol, since=checker.since())
    answer = await client.until("subscribed")
    checker.feed(answer)
    info: dict[str, Any] = answer["streams"][symbol]
    return info


async def test_two_processes_give_the_same_offsets(
    two_servers: tuple[LiveServer, LiveServer], connect: Connect, symbol: str
) -> None:
    checkers = [Checker(), Checker()]
    clients = [
        await connect(server, f"/ws/market-data/{symbol}", checker)
        for server, checker in zip(two_servers, checkers, strict=True)
    ]
    assert checkers[0].epoch == checkers[1].epoch
    await publish(symbol, 50)
    for client, checker in zip(clients, checkers, strict=True):
        await read(client, checker, symbol, 50)
        checker.assert_complete()
        assert checker.received(symbol) == list(range(1, 51))
    assert [m["data"] for m in clients[0].seen[1:]] == [m["data"] for m in clients[1].seen[1:]]


@pytest.mark.parametrize("missed", [0, 1, 300])
async def test_who_changes_the_process_gets_exactly_what_was_missed(
    two_servers: tuple[LiveServer, LiveServer], connect: Connect, symbol: str, missed: int
) -> None:
    checker = Checker()
    first, second = two_servers
    client = await connect(first, f"/ws/market-data/{symbol}", checker)
    await publish(symbol, 5)
    await read(client, checker, symbol, 5)
    await client.leave()
    await publish(symbol, missed)
    client = await connect(second, "/ws/market-data", checker)
    info = await resume(client, checker, symbol)
    assert (info["recovered"], info["replayed"]) == (True, missed)
    await publish(symbol, 5)
    await read(client, checker, symbol, 10 + missed)
    checker.assert_complete()
    assert checker.received(symbol) == list(range(1, 11 + missed))
    assert not any("snapshot" in message for message in client.seen)


async def test_the_position_may_be_in_the_url(
    two_servers: tuple[LiveServer, LiveServer], connect: Connect, symbol: str
) -> None:
    checker = Checker()
    first, second = two_servers
    client = await connect(first, f"/ws/market-data/{symbol}", checker)
    await publish(symbol, 5)
    await read(client, checker, symbol, 5)
    await client.leave()
    await publish(symbol, 5)
    query = f"?epoch={checker.epoch[symbol]}&offset={checker.offset[symbol]}"
    client = await connect(second, f"/ws/market-data/{symbol}{query}", checker)
    await read(client, checker, symbol, 10)
    checker.assert_complete()
    assert checker.received(symbol) == list(range(1, 11))


async def test_who_missed_more_than_300_is_told_and_gets_the_newest(
    two_servers: tuple[LiveServer, LiveServer], connect: Connect, symbol: str
) -> None:
    checker = Checker()
    first, second = two_servers
    client = await connect(first, f"/ws/market-data/{symbol}", checker)
    await publish(symbol, 5)
    await read(client, checker, symbol, 5)
    await client.leave()
    await publish(symbol, 301)
    client = await connect(second, "/ws/market-data", checker)
    assert (await resume(client, checker, symbol))["recovered"] is False
    snapshot = await client.next()
    checker.feed(snapshot)
    assert (snapshot["snapshot"], snapshot["offset"]) == (True, 306)
    await publish(symbol, 5)
    await read(client, checker, symbol, 311)
    checker.assert_complete()
    assert len(checker.told_lost) == 300


async def test_what_was_trimmed_is_told_to_be_lost(
    two_servers: tuple[LiveServer, LiveServer], connect: Connect, symbol: str, settings: Any
) -> None:
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 3}
    checker = Checker()
    first, second = two_servers
    client = await connect(first, f"/ws/market-data/{symbol}", checker)
    await publish(symbol, 1)
    await read(client, checker, symbol, 1)
    await client.leave()
    # Redis trims whole nodes of its stream, of a hundred entries each.
    await publish(symbol, 250)
    client = await connect(second, "/ws/market-data", checker)
    assert (await resume(client, checker, symbol))["recovered"] is False
    await read(client, checker, symbol, 251)
    checker.assert_complete()


async def test_missed_alerts_are_replayed_by_the_other_process(
    two_servers: tuple[LiveServer, LiveServer], connect: Connect
) -> None:
    checker = Checker()
    first, second = two_servers
    client = await connect(first, "/ws/alerts", checker)
    begin = checker.offset["all"]
    await asend_alert({"number": 1})
    await read(client, checker, "all", begin + 1)
    await client.leave()
    await asend_alert({"number": 2})
    client = await Socket.open(f"{second.ws}/ws/alerts")
    await client.next()
    await client.send("subscribe", symbols=["all"], since=checker.since())
    await read(client, checker, "all", begin + 2)
    await client.leave()
    checker.assert_complete()
    alert = client.seen[-1]
    assert (alert["data"], alert["replayed"]) == ({"number": 2}, True)


RACER = """
import sys
import django
django.setup()
from realtime.broadcast import broadcast_many, broadcast_market_data, market_data_update
symbol, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for number in range(0, count, 3):
    broadcast_market_data(symbol, {"by": name, "number": number})
    broadcast_many([
        market_data_update(symbol, {"by": name, "number": n}) for n in (number + 1, number + 2)
    ])
"""


async def test_two_racing_publishers_use_every_offset_once(
    two_servers: tuple[LiveServer, LiveServer], connect: Connect, symbol: str
) -> None:
    count = 300
    racers = [_start_racer(two_servers[0], symbol, name, count) for name in ("one", "two")]
    checkers = [Checker(), Checker()]
    clients = [
        await connect(server, f"/ws/market-data/{symbol}", checker)
        for server, checker in zip(two_servers, checkers, strict=True)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert await asyncio.to_thread(racer.stdout.readline) == b"ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    for client, checker in zip(clients, checkers, strict=True):
        await read(client, checker, symbol, 2 * count)
        checker.assert_complete()
        assert checker.folded == 0
        assert checker.received(symbol) == list(range(1, 2 * count + 1))
        updates = [message["data"] for message in client.of_type("market_data_update")]
        for name in ("one", "two"):
            numbers = [data["number"] for data in updates if data["by"] == name]
            assert numbers == list(range(count)), "each publisher's own order holds"
    for racer in racers:
        await asyncio.to_thread(racer.communicate, timeout=PATIENCE)
        assert racer.returncode == 0


def _start_racer(
    server: LiveServer, symbol: str, name: str, count: int
) -> "subprocess.Popen[bytes]":
    environment = {**server.environment, "DJANGO_SETTINGS_MODULE": "ara_project.settings"}
    return subprocess.Popen(
        [sys.executable, "-c", RACER, symbol, name, str(count)],
        cwd=ROOT, env=process_environment(server.directory, environment),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


async def test_a_process_that_is_killed_costs_no_update(
    two_servers: tuple[LiveServer, LiveServer],
    module_servers: Start,
    connect: Connect,
    symbol: str,
) -> None:
    checker = Checker()
    doomed = module_servers()
    client = await connect(doomed, f"/ws/market-data/{symbol}", checker)
    publisher = Publisher(symbol)
    await read(client, checker, symbol, 20)
    await asyncio.to_thread(doomed.kill)
    await _read_to_the_close(client, checker)
    client = await connect(two_servers[1], "/ws/market-data", checker)
    assert (await resume(client, checker, symbol))["recovered"] is True
    count = await publisher.stop()
    await read(client, checker, symbol, count)
    checker.assert_complete()
    assert checker.received(symbol) == list(range(1, count + 1))


async def test_a_process_that_stops_says_when_to_come_back(
    two_servers: tuple[LiveServer, LiveServer],
    module_servers: Start,
    connect: Connect,
    symbol: str,
) -> None:
    checker = Checker()
    stopping = module_servers()
    client = await connect(stopping, f"/ws/market-data/{symbol}", checker)
    publisher = Publisher(symbol)
    await read(client, checker, symbol, 20)
    stopped = asyncio.create_task(asyncio.to_thread(stopping.stop))
    assert await _read_to_the_close(client, checker) == 1012
    await stopped
    (shutdown,) = client.of_type("server_shutdown")
    assert shutdown["reconnect_in_ms"] >= 0
    client = await connect(two_servers[0], "/ws/market-data", checker)
    assert (await resume(client, checker, symbol))["recovered"] is True
    count = await publisher.stop()
    await read(client, checker, symbol, count)
    checker.assert_complete()
    assert checker.received(symbol) == list(range(1, count + 1))


class Publisher:
    """Updates that are still under way while a server goes."""

    def __init__(self, symbol: str) -> None:
        self._stopping = False
        self._task = asyncio.create_task(self._run(symbol))

    async def _run(self, symbol: str) -> int:
        for number in itertools.count(1):
            await abroadcast_many([market_data_update(symbol, {"number": number})])
            if self._stopping:
                return number
            await asyncio.sleep(0.01)
        raise AssertionError

    async def stop(self) -> int:
        """Returns how many updates there were."""
        self._stopping = True
        return await self._task


async def _read_to_the_close(client: Socket, checker: Checker) -> int:
    """What lies in the socket's buffer still counts. Returns the code."""
    with pytest.raises(Closed) as closed:
        await read(client, checker, "", 1)  # a stream without updates: until the end
    return closed.value.code
