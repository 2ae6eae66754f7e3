"""The load generator counts everything that a server sends, however it is cut into pieces."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from realtime.delivery.updates import frame
from tests.bench import load

HANDSHAKE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
CONNECTED = frame(b'{"type":"connected"}')

Serve = Callable[..., Awaitable[load.Target]]


def update(extra: str = "", pad: int = 0) -> bytes:
    mark = load.CLOCK_BASE + time.monotonic_ns()
    return frame(f'{{"mark":"@{mark}","pad":"{"x" * pad}"{extra}}}'.encode())


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """A server that answers each connection with these pieces, and keeps what it reads."""
    servers: list[asyncio.Server] = []

    async def start(pieces: list[bytes], heard: asyncio.Queue[bytes] | None = None) -> load.Target:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if heard is not None:
                heard.put_nowait(await reader.read(1000))
            await reader.read()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        return load.Target(server.sockets[0].getsockname()[1], "/", awaited=b'"connected"')

    yield start
    for server in servers:
        server.close()


async def received(target: load.Target, expected: int) -> load.Tally:
    tally = load.Tally()
    clients = await load.connect_many(1, target, tally)
    await load.settle(tally, expected, patience=1.0)
    await load.close(clients)
    return tally


@pytest.mark.parametrize("pad", [0, 50, 60_000, 70_000])
async def test_frames_of_every_size_are_counted(serve: Serve, pad: int) -> None:
    updates = [update(pad=pad) for _ in range(5)]
    tally = await received(await serve([HANDSHAKE, CONNECTED, *updates]), 5)
    assert tally.received == 5


async def test_joined_frames_are_counted_one_by_one(serve: Serve) -> None:
    joined = HANDSHAKE + CONNECTED + b"".join(update() for _ in range(50))
    assert (await received(await serve([joined]), 50)).received == 50


async def test_frames_cut_at_every_byte_are_counted(serve: Serve) -> None:
    whole = HANDSHAKE + CONNECTED + update(pad=200) + update()
    pieces = [whole[index : index + 1] for index in range(len(whole))]
    assert (await received(await serve(pieces), 2)).received == 2


async def test_folded_updates_count_as_arrived(serve: Serve) -> None:
    tally = await received(await serve([HANDSHAKE, CONNECTED, update(',"folded":3')]), 4)
    assert (tally.received, tally.folded) == (1, 3)


async def test_what_was_published_before_the_interval_is_not_counted(serve: Serve) -> None:
    target = await serve([HANDSHAKE, CONNECTED, update(), update()])
    tally = load.Tally()
    tally.begin()
    clients = await load.connect_many(1, target, tally)
    await load.settle(tally, 1, patience=0.2)
    await load.close(clients)
    assert tally.received == 0


async def test_latency_is_the_time_since_the_mark(serve: Serve) -> None:
    tally = await received(await serve([HANDSHAKE, CONNECTED, update()]), 1)
    assert 0 < tally.percentile(0.5) < 10_000


@pytest.mark.parametrize(
    ("ping", "pong"),
    [
        (frame(b'{"type":"ping","heads":{}}'), load.PONG),
        (b"\x89\x02hi", b"\x8a\x82\x00\x00\x00\x00hi"),
        (b"\x89\x02@\x00", b"\x8a\x82\x00\x00\x00\x00@\x00"),
    ],
)
async def test_pings_are_answered(serve: Serve, ping: bytes, pong: bytes) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    target = await serve([HANDSHAKE, CONNECTED, ping], heard)
    clients = await load.connect_many(1, target, load.Tally())
    async with asyncio.timeout(5):
        assert await heard.get() == pong
    await load.close(clients)


async def test_a_refused_handshake_is_an_error(serve: Serve) -> None:
    target = await serve([b"HTTP/1.1 403 Forbidden\r\n\r\n"])
    with pytest.raises(ConnectionError, match="403"):
        await load.connect(target, 0, load.Tally())
