"""Readers that begin with more than may wait for a slow one: many symbols, or large updates."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from websockets.asyncio.client import connect

from realtime.broadcast import abroadcast_many, market_data_update
from tests.checker import Checker
from tests.clients import Socket
from tests.live import publish_to
from tests.processes import LiveServer

pytestmark = pytest.mark.slow

SYMBOLS = [f"S{number:03}" for number in range(400)]
KINDS = pytest.mark.parametrize("kind", ["uvicorn", "daphne"])
# What may wait is a tenth of what the server sends when somebody begins to read every symbol.
SMALL = {"REALTIME_OUTBOX_BYTES": "8000", "REALTIME_HEARTBEAT_INTERVAL": "1"}
Start = Callable[..., LiveServer]


async def publish(symbols: Sequence[str], size: int = 1) -> None:
    await abroadcast_many([market_data_update(name, {"pad": "x" * size}) for name in symbols])


async def slow_reader(server: LiveServer) -> Socket:
    """A socket of which the kernels hold next to nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.to_thread(sock.connect, ("127.0.0.1", server.port))
    return Socket(
        await connect(
            f"{server.ws}/ws/market-data", sock=sock, max_queue=1, compression=None, max_size=None
        )
    )


async def read(client: Socket, updates: int) -> Checker:
    """Feed a checker until it has had so many updates."""
    checker = Checker()
    while sum(checker.seen.values()) + checker.folded < updates:
        message = await client.next()
        checker.feed(message)
        if message["type"] == "ping":
            await client.send("pong")
    return checker


def offsets(client: Socket) -> dict[str, list[tuple[int, bool]]]:
    """What came of each symbol, in order: its offset, and whether it was a snapshot."""
    came: dict[str, list[tuple[int, bool]]] = {}
    for update in client.of_type("market_data_update"):
        came.setdefault(update["symbol"], []).append((update["offset"], "snapshot" in update))
    return came


@KINDS
async def test_a_reader_of_every_symbol_gets_a_snapshot_of_each(
    start_server: Start, settings: Any, kind: str
) -> None:
    server = start_server(kind, **SMALL)
    publish_to(server, settings)
    await publish(SYMBOLS)
    client = await Socket.open(f"{server.ws}/ws/market-data")
    await client.send("subscribe", symbols=["*"], id=1)
    await read(client, len(SYMBOLS))
    (answer,) = client.of_type("subscribed")
    assert (answer["id"], len(answer["streams"])) == (1, len(SYMBOLS))
    assert offsets(client) == {name: [(1, True)] for name in SYMBOLS}
    await client.leave()


@KINDS
async def test_large_snapshots_of_named_symbols_arrive(
    start_server: Start, settings: Any, kind: str
) -> None:
    server = start_server(kind)
    publish_to(server, settings)
    await publish(SYMBOLS[:20], size=60_000)
    client = await Socket.open(f"{server.ws}/ws/market-data")
    await client.send("subscribe", symbols=SYMBOLS[:20])
    await read(client, 20)
    assert offsets(client) == {name: [(1, True)] for name in SYMBOLS[:20]}
    await client.leave()


async def test_what_is_published_meanwhile_follows_its_snapshot(
    start_server: Start, settings: Any
) -> None:
    server = start_server(REALTIME_OUTBOX_BYTES="8000", REALTIME_HEARTBEAT_INTERVAL="60")
    publish_to(server, settings)
    await publish(SYMBOLS, size=3000)
    client = await slow_reader(server)
    client.seen.append(await client.next())
    await client.send("subscribe", symbols=["*"])
    await client.until("subscribed")
    for _ in range(3):
        await publish(SYMBOLS[200:], size=10)
    checker = Checker()
    for message in client.seen:
        checker.feed(message)
    while checker.offset != {name: 1 + 3 * (name >= SYMBOLS[200]) for name in SYMBOLS}:
        checker.feed(await client.next())
    checker.assert_complete()
    came = offsets(client)
    assert all(came[name] == [(1, True)] for name in SYMBOLS[:200])
    assert all(came[name][0] == (1, True) for name in SYMBOLS[200:])
    assert checker.folded, "it was slow enough to be a test"
    await client.leave()


async def test_a_ping_tells_a_reader_of_every_symbol_what_has_moved(
    start_server: Start, settings: Any
) -> None:
    server = start_server(**SMALL)
    publish_to(server, settings)
    await publish(SYMBOLS)
    client = await Socket.open(f"{server.ws}/ws/market-data")
    await client.send("subscribe", symbols=["*"])
    await read(client, len(SYMBOLS))
    while len((await client.until("ping"))["heads"]) > 0:
        await client.send("pong")
    await client.send("pong")
    await publish(SYMBOLS[:3])
    assert (await client.until("ping"))["heads"] == dict.fromkeys(SYMBOLS[:3], 2)
    await client.leave()
