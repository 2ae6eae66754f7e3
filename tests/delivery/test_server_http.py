"""HTTP requests of `manage.py serve`, byte by byte: what is too large, too slow, or never ends."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from realtime.delivery.server_http import LINGER_SECONDS, MAX_HEAD_BYTES
from tests.patience import PATIENCE
from tests.processes import LiveServer, Valkey, start_live_server

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/v1/auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
UPGRADE = (
    b"GET /ws/alerts HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"
)
MEGABYTE = b"a" * 1024 * 1024
BUNDLE = (
    b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\n"
    b"Host: localhost\r\n\r\n"
)
SECONDS = 1.0  # for a request


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("http")
    (directory / "db.sqlite3").write_bytes(migrated_database.read_bytes())
    with Valkey(directory / "valkey") as valkey:
        environment = {"REDIS_URL": valkey.url, "REALTIME_REQUEST_SECONDS": str(SECONDS)}
        server = start_live_server("uvicorn", directory, environment)
        yield server
        server.stop()
        assert "Traceback" not in server.log


class Peer:
    """A client that writes what it is told to, whether or not anybody reads it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def status(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return int((await self.reader.readuntil(b"\r\n\r\n")).split(b" ")[1])


@pytest.fixture
async def peer(server: LiveServer) -> AsyncIterator[Peer]:
    peer = Peer(*await asyncio.open_connection("127.0.0.1", server.port))
    yield peer
    peer.writer.close()


@pytest.mark.parametrize(
    "start",
    [b"GET /", GET + b"X: ", POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
     POST + b"Transfer-Encoding: chunked\r\n\r\n1;"],
    ids=["url", "header", "trailer", "chunk extension"],
)  # fmt: skip
async def test_what_never_ends_is_refused(peer: Peer, start: bytes) -> None:
    await peer.send(start, MEGABYTE[:MAX_HEAD_BYTES])
    assert await peer.status() == 431


async def test_headers_without_number_are_refused(peer: Peer) -> None:
    await peer.send(GET, b"X: y\r\n" * 20_000)
    assert await peer.status() == 431


@pytest.mark.parametrize("start", [GET, UPGRADE], ids=["request", "handshake"])
async def test_large_headers_that_end_are_refused_too(peer: Peer, start: bytes) -> None:
    await peer.send(start + b"X: " + MEGABYTE[:MAX_HEAD_BYTES] + b"\r\n\r\n")
    assert b" 431 " in await peer.answer()


@pytest.mark.parametrize("start", [GET, UPGRADE], ids=["request", "handshake"])
async def test_headers_of_an_ordinary_size_are_served(peer: Peer, start: bytes) -> None:
    await peer.send(start + b"X: " + MEGABYTE[:30_000] + b"\r\n\r\n")
    assert await peer.status() == (200 if start is GET else 101)


async def test_a_body_that_is_announced_as_too_large_is_not_awaited(peer: Peer) -> None:
    await peer.send(POST + b"Content-Length: 1000000000\r\n\r\n")
    assert b"DATA_UPLOAD_MAX_MEMORY_SIZE" in await peer.answer()


async def test_a_chunked_body_that_never_ends_is_refused(peer: Peer) -> None:
    chunk = b"100000\r\n" + MEGABYTE + b"\r\n"
    await peer.send(POST + b"Transfer-Encoding: chunked\r\n\r\n", chunk, chunk, chunk)
    assert await peer.status() == 413


async def test_a_body_in_small_chunks_is_read(peer: Peer) -> None:
    await peer.send(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 30_000)
    await peer.send(b"0\r\n\r\n")
    assert await peer.status() == 400  # read, and no login


async def test_pipelined_requests_are_answered_in_order(peer: Peer) -> None:
    paths = [b"/healthz", b"/api/v1/asyncapi.json", b"/ws/", b"/none"] * 5
    body = (
        b"POST /api/v1/auth/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n\r\n\r\nx"
    )
    await peer.send(
        b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths) + body,
        GET + b"Connection: close\r\n\r\n",
    )
    answers = re.findall(rb"HTTP/1.1 (\d+) ", await peer.answer())
    assert answers == [b"200", b"200", b"426", b"404"] * 5 + [b"415", b"200"]


async def test_a_body_in_pieces_begins_behind_its_announcement(peer: Peer) -> None:
    await peer.send(POST + b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
    assert await peer.status() == 100
    for _ in range(10):
        await peer.send(b" " * 10_000)
    assert await peer.status() == 400  # read, and no login


@pytest.fixture
def small_server(start_server: Callable[..., LiveServer]) -> LiveServer:
    return start_server("uvicorn", REALTIME_HTTP_CONCURRENCY="1")


async def ask(server: LiveServer, request: bytes) -> bytes:
    peer = Peer(*await asyncio.open_connection("127.0.0.1", server.port))
    await peer.send(request)
    answer = await peer.answer()
    peer.writer.close()
    return answer


async def test_beyond_the_places_requests_are_told_to_come_again(small_server: LiveServer) -> None:
    page = b"GET /api/v1/schema HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answers = await asyncio.gather(*(ask(small_server, page) for _ in range(60)))
    refused = [answer for answer in answers if b" 503 " in answer]
    assert 0 < len(refused) < 60
    assert all(b"\r\nretry-after: 1\r\n" in answer for answer in refused)
    assert len([answer for answer in answers if b" 200 " in answer]) == 60 - len(refused)
    assert small_server.log.count("REALTIME_HTTP_CONCURRENCY") == 1
    assert await ask(small_server, page) != b""


async def occupy(server: LiveServer, request: bytes) -> list[asyncio.StreamWriter]:
    """Send it on many connections, and read nothing."""
    writers = []
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(request)
        writers.append(writer)
    return writers


@pytest.mark.parametrize(
    "request_",
    [POST + b"Content-Length: 9\r\n\r\n{", BUNDLE],
    ids=["the request never ends", "the answer is not read"],
)  # fmt: skip
async def test_clients_that_hold_a_request_up_take_no_place(
    small_server: LiveServer, request_: bytes
) -> None:
    writers = await occupy(small_server, request_)
    page = b"GET /ws/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with asyncio.timeout(PATIENCE):
        while b" 426 " not in await ask(small_server, page):
            pass
    for writer in writers:
        writer.close()


async def test_a_refused_client_may_not_send_on_for_ever(peer: Peer) -> None:
    await peer.send(POST + b"Content-Length: 1000000000\r\n\r\n")
    async with asyncio.timeout(PATIENCE + LINGER_SECONDS):
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.send(MEGABYTE)


@pytest.mark.parametrize(
    "start",
    [b"", GET, POST + b"Content-Length: 9\r\n\r\n{", GET + b"\r\n" + GET],
    ids=["nothing", "header", "body", "second request"],
)
async def test_a_request_that_stops_halfway_loses_its_connection(peer: Peer, start: bytes) -> None:
    await peer.send(start)
    async with asyncio.timeout(PATIENCE):
        assert (await peer.reader.read()).count(b"HTTP/1.1") == start.count(b"\r\n\r\nGET")


@pytest.mark.parametrize("size", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_handshake_has_no_body(peer: Peer, size: bytes) -> None:
    await peer.send(UPGRADE + size + b"\r\n\r\n")
    assert await peer.answer() == b""


async def test_a_socket_is_not_held_to_the_time_of_a_request(peer: Peer) -> None:
    await peer.send(UPGRADE + b"\r\n")
    assert await peer.status() == 101
    await asyncio.wait([reading := asyncio.create_task(peer.reader.read())], timeout=2 * SECONDS)
    assert not reading.done()
    reading.cancel()


async def test_the_name_of_another_host_is_one_line_in_the_log(
    peer: Peer, server: LiveServer
) -> None:
    await peer.send(b"GET /api/v1/docs HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert await peer.status() == 400
    [line] = [line for line in server.log.splitlines() if "evil.example" in line]
    assert "Invalid HTTP_HOST header" in line
    assert "Traceback" not in server.log


@pytest.mark.parametrize("path", ["/api/v1/docs", "/admin/login/"])
async def test_a_query_of_too_many_fields_is_one_line_in_the_log(
    peer: Peer, server: LiveServer, path: str
) -> None:
    before = len(server.log)
    query = "&".join(f"f{number}=" for number in range(1001))
    await peer.send(f"GET {path}?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert await peer.status() == 400
    [line] = server.log[before:].splitlines()
    assert " WARNING django.security.TooManyFieldsSent: " in line


async def test_clients_that_leave_while_pipelining_are_no_failure(server: LiveServer) -> None:
    before = len(server.log)
    for _ in range(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /api/v1/schema HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        await reader.read(1)
        writer.transport.abort()
    await ask(server, GET + b"Connection: close\r\n\r\n")
    assert " ERROR " not in server.log[before:]
