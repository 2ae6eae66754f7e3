"""The protocol class of `manage.py serve`, byte by byte over real sockets."""

import asyncio
import base64
import contextlib
import json
import os
import socket as network
import struct
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from realtime.delivery.server_protocol import CLOSE_SECONDS, PreparedProtocol
from tests.delivery.waiting import until
from tests.patience import PATIENCE
from tests.processes import LiveServer, Valkey, start_live_server
from tests.wire import checked

KEY = base64.b64encode(bytes(range(16))).decode()
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, migrated_database: Path
) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("uvicorn")
    (directory / "db.sqlite3").write_bytes(migrated_database.read_bytes())
    with Valkey(directory / "valkey") as valkey:
        server = start_live_server("uvicorn", directory, {"REDIS_URL": valkey.url})
        yield server
        server.stop()
        assert "Traceback" not in server.log


class Peer:
    """A client that writes what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an HTTP answer."""
        async with asyncio.timeout(PATIENCE):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = text.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(line.split(" ")[1]), headers

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame; it must be final and unmasked."""
        async with asyncio.timeout(PATIENCE):
            first, size = await self.reader.readexactly(2)
            assert first & 0x80
            assert not size & 0x80
            assert not first & 0x70, "no extension is in use"
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def message(self) -> dict[str, Any]:
        opcode, payload = await self.frame()
        assert opcode == TEXT
        return checked(payload.decode())

    async def closed(self) -> int:
        """The code in the close frame; what comes before it is passed over."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")

    def send(self, opcode: int, payload: bytes, *, final: bool = True, masked: bool = True) -> None:
        size = len(payload)
        head = bytes([opcode | (0x80 if final else 0)])
        mark = 0x80 if masked else 0
        if size < 126:
            head += bytes([mark | size])
        elif size < 65536:
            head += bytes([mark | 126]) + size.to_bytes(2, "big")
        else:
            head += bytes([mark | 127]) + size.to_bytes(8, "big")
        mask = os.urandom(4) if masked else b""
        if masked:
            payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.writer.write(head + mask + payload)

    async def gone(self) -> None:
        """The server ends the connection."""
        async with asyncio.timeout(PATIENCE):
            await self.reader.read()

    async def leave(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def peer(server: LiveServer) -> Peer:
    return Peer(*await asyncio.open_connection("127.0.0.1", server.port))


def request(path: str = "/ws/market-data/AAPL", /, **changes: str | None) -> bytes:
    """A handshake; `changes` are headers with other values, or without (None)."""
    headers: dict[str, str | None] = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


async def opened(server: LiveServer, path: str = "/ws/market-data/AAPL") -> Peer:
    client = await peer(server)
    client.writer.write(request(path))
    status, _ = await client.head()
    assert status == 101
    assert (await client.message())["type"] == "connected"
    return client


async def assert_alive(client: Peer) -> None:
    client.send(TEXT, b'{"type":"status","id":"alive"}')
    while (await client.message()).get("id") != "alive":
        pass
    await client.leave()


# The handshake ------------------------------------------------------------------------------------


async def test_the_answer_has_the_proof_and_offers_no_compression(server: LiveServer) -> None:
    client = await peer(server)
    client.writer.write(request(Sec_WebSocket_Extensions="permessage-deflate"))
    status, headers = await client.head()
    assert status == 101
    assert headers["upgrade"] == "websocket"
    assert headers["sec-websocket-accept"]
    assert "sec-websocket-extensions" not in headers
    await client.leave()


@pytest.mark.parametrize(
    "changes",
    [
        {"Connection": "keep-alive, Upgrade"},
        {"Upgrade": "WebSocket"},
        {"X_Note": "naïve"},
        {"X_Empty": ""},
        {"X_Colons": "a: b: c"},
        {"X_Long": "x" * 8000},
        {"Cookie": "a=1; b=2"},
        {"Origin": "http://localhost"},
    ],
    ids=str,
)
async def test_headers_may_be_written_as_http_allows(
    server: LiveServer, changes: dict[str, str]
) -> None:
    client = await peer(server)
    client.writer.write(request(**changes))
    assert (await client.head())[0] == 101
    assert (await client.message())["type"] == "connected"
    await assert_alive(client)


async def test_names_of_headers_have_no_case_and_values_no_blanks_around(
    server: LiveServer,
) -> None:
    client = await peer(server)
    text = request().decode().replace(": ", ":   ").replace("Sec-WebSocket", "SEC-webSOCKET")
    client.writer.write(text.encode())
    assert (await client.head())[0] == 101
    await client.leave()


async def test_a_handshake_may_come_in_pieces(server: LiveServer) -> None:
    client = await peer(server)
    client.writer.get_extra_info("socket").setsockopt(network.IPPROTO_TCP, network.TCP_NODELAY, 1)
    for byte in request():
        client.writer.write(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0)
    assert (await client.head())[0] == 101
    await assert_alive(client)


@pytest.mark.parametrize(
    ("path", "symbol"),
    [
        ("/ws/market-data/aapl", "AAPL"),
        ("/ws/market-data/BTC%2FUSD", "BTC/USD"),
        ("/ws/market-data/%5EGSPC/", "^GSPC"),
        ("/ws/market-data/AAPL?epoch=a&offset=3", "AAPL"),
    ],
)
async def test_a_path_arrives_decoded(server: LiveServer, path: str, symbol: str) -> None:
    client = await peer(server)
    client.writer.write(request(path))
    assert (await client.head())[0] == 101
    assert (await client.message())["symbol"] == symbol
    await client.leave()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Version": "12"}, 400),
        ({"Sec_WebSocket_Version": None}, 400),
    ],
    ids=str,
)
async def test_a_handshake_that_is_none_is_refused(
    server: LiveServer, changes: dict[str, str | None], status: int
) -> None:
    client = await peer(server)
    client.writer.write(request(**changes))
    assert (await client.head())[0] == status
    await client.gone()
    await client.leave()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /ws/market-data/\xff\xfe HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: " + KEY.encode() + b"\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n",
        request().replace(b"GET", b"POST"),
        request(Content_Length="5") + b"hello",
        request(Transfer_Encoding="chunked") + b"5\r\nhello\r\n0\r\n\r\n",
        request() + b"\x81\x85\x00\x00\x00\x00hello",
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request().replace(b"Host", b"Ho st"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n",
    ],
    ids=["no ASCII", "POST", "a body", "chunks", "a frame too early", "HTTP/1.0", "a bad header",
         "TLS", "nothing"],
)  # fmt: skip
async def test_whatever_comes_instead_of_a_handshake_harms_nobody(
    server: LiveServer, data: bytes
) -> None:
    client = await peer(server)
    client.writer.write(data)
    client.writer.write_eof()
    await client.gone()
    await client.leave()
    await assert_alive(await opened(server))


@contextlib.asynccontextmanager
async def plain(server: LiveServer, path: str) -> AsyncIterator[asyncio.StreamWriter]:
    """A client that reads nothing after the handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(request(path))
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"\r\n\r\n")
    yield writer
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def memory(server: LiveServer) -> int:
    """Bytes in use by the server process."""
    return int(psutil.Process(server.process.pid).memory_info().rss)


# Frames -------------------------------------------------------------------------------------------


async def test_a_ping_is_answered_with_the_same_payload(server: LiveServer) -> None:
    client = await opened(server)
    client.send(PING, b"are you there?")
    assert await client.frame() == (PONG, b"are you there?")
    await assert_alive(client)


async def test_a_message_may_come_in_fragments_with_a_ping_between(server: LiveServer) -> None:
    client = await opened(server)
    client.send(TEXT, b'{"type":', final=False)
    client.send(PING, b"")
    client.send(0, b'"status",', final=False)
    client.send(0, b'"id":"whole"}')
    assert (await client.frame())[0] == PONG
    assert (await client.message())["id"] == "whole"
    await client.leave()


async def test_text_that_is_not_utf8_is_answered_like_any_bad_message(server: LiveServer) -> None:
    client = await opened(server)
    client.send(TEXT, b'{"type":"\xff\xfe"}')
    assert (await client.message())["type"] == "error"
    # A character may be cut by the border between two fragments.
    snowman = "☃".encode()
    client.send(TEXT, b'{"type":"status","id":"' + snowman[:1], final=False)
    client.send(0, snowman[1:] + b'"}')
    assert (await client.message())["id"] == "☃"
    await assert_alive(client)


async def test_a_message_of_the_limit_is_read_and_a_bigger_one_is_not(server: LiveServer) -> None:
    client = await opened(server)
    padding = b" " * (65536 - len(b'{"type":"status"}'))
    client.send(TEXT, b'{"type":"status"}' + padding)
    assert (await client.message())["type"] == "status"
    client.send(TEXT, b'{"type":"status"}' + padding + b" ")
    assert await client.closed() == 1009
    await client.gone()
    await client.leave()


async def test_fragments_count_together(server: LiveServer) -> None:
    client = await opened(server)
    client.send(TEXT, b" " * 40_000, final=False)
    client.send(0, b" " * 40_000)
    assert await client.closed() == 1009
    await client.leave()


async def test_fragments_of_nothing_do_not_go_on_for_ever(server: LiveServer) -> None:
    client = await opened(server)
    client.send(TEXT, b"{", final=False)
    client.writer.write(b"\x00\x80\0\0\0\0" * 65536)
    assert await client.closed() == 1009
    await client.leave()


async def test_pings_of_a_client_that_does_not_read_are_not_stored(server: LiveServer) -> None:
    ping = bytes([0x80 | PING, 0x80 | 125, 0, 0, 0, 0]) + b"x" * 125
    before, pings = memory(server), 160_000
    async with plain(server, "/ws/market-data/AAPL") as writer:
        with contextlib.suppress(ConnectionError):  # it is closed for the flood
            for _ in range(pings // 500):
                writer.write(ping * 500)
                async with asyncio.timeout(PATIENCE):
                    await writer.drain()
        await assert_alive(await opened(server))
        assert memory(server) - before < pings * len(ping) / 2


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_a_flood_of_control_frames_is_closed_with_a_reason(
    server: LiveServer, opcode: int
) -> None:
    client = await opened(server)
    client.writer.write(bytes([0x80 | opcode, 0x80, 0, 0, 0, 0]) * 6000)
    while (frame := await client.frame())[0] == PONG:
        pass
    assert json.loads(frame[1])["code"] == "rate_limited"
    assert await client.closed() == 4429
    await client.leave()


async def test_many_pings_over_time_are_no_flood(server: LiveServer) -> None:
    client = await opened(server)
    for _ in range(20):
        for _ in range(100):
            client.send(PING, b"")
        for _ in range(100):
            assert (await client.frame())[0] == PONG
    await assert_alive(client)


async def test_frames_in_the_packet_of_the_handshake_are_read(server: LiveServer) -> None:
    client = await peer(server)
    client.writer.write(request() + b"\x89\x80\0\0\0\0")
    assert (await client.head())[0] == 101
    assert (await client.message())["type"] == "connected"
    assert await client.frame() == (PONG, b"")
    await assert_alive(client)


async def test_a_close_may_come_between_two_fragments(server: LiveServer) -> None:
    client = await opened(server)
    client.send(TEXT, b'{"type":', final=False)
    client.send(CLOSE, (1000).to_bytes(2, "big"))
    assert await client.closed() == 1000
    await client.gone()
    await client.leave()


async def test_the_close_that_answers_ours_ends_the_connection_at_once(server: LiveServer) -> None:
    client = await opened(server)
    client.send(0x3, b"x")
    assert await client.closed() == 1002
    client.writer.write(b"\x81\x80\0\0\0\0" * 3 + b"\x88\x82\0\0\0\0")
    await asyncio.sleep(0.05)
    client.writer.write(b"\x03\xea")  # the rest of the close frame
    before = time.monotonic()
    await client.gone()
    assert time.monotonic() - before < CLOSE_SECONDS / 2
    await client.leave()


async def test_a_flood_after_the_close_ends_the_connection(server: LiveServer) -> None:
    async with plain(server, "/ws/nothing/here") as writer:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(b"\x81\x80\0\0\0\0" * 10_000)
                    await writer.drain()


@pytest.mark.parametrize(
    ("opcode", "options"),
    [(0x3, {}), (0xB, {}), (0x0, {}), (TEXT, {"masked": False}), (PING, {"final": False})],
    ids=["reserved", "reserved control", "continues nothing", "unmasked", "a ping in fragments"],
)
async def test_what_breaks_the_websocket_protocol_is_closed(
    server: LiveServer, opcode: int, options: dict[str, bool]
) -> None:
    client = await opened(server)
    client.send(opcode, b"x", **options)
    assert await client.closed() == 1002
    await client.gone()
    await client.leave()


async def test_messages_before_one_that_is_too_big_are_no_failure(server: LiveServer) -> None:
    client = await opened(server)
    auth = b"\x81\x9b\0\0\0\0" + b'{"type":"auth","token":"x"}'
    client.writer.write(auth * 20 + b"\x81\xff" + (70_000).to_bytes(8, "big") + bytes(4))
    assert await client.closed() == 1009
    await client.gone()
    assert " ERROR " not in server.log
    await client.leave()


async def test_the_reason_arrives_though_more_is_being_sent(server: LiveServer) -> None:
    client = await opened(server)
    client.send(0x3, b"x")
    for _ in range(50):  # as a client does that has not heard of it yet
        client.send(TEXT, b"{}" * 1000)
        await client.writer.drain()
        await asyncio.sleep(0)
    assert await client.closed() == 1002
    await client.gone()
    await client.leave()


LOOK_UP = "/ws/market-data/AAPL?token=ara_nosuchke_" + "x" * 32


@pytest.mark.parametrize("early", [b"", b"\xf0\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe8"])
async def test_a_client_that_does_not_wait_for_its_handshake_is_no_failure(
    server: LiveServer, early: bytes
) -> None:
    for _ in range(20):
        client = await peer(server)
        client.writer.write(request(LOOK_UP))
        await asyncio.sleep(0)
        client.writer.write(early)
        client.writer.close()
    await assert_alive(await opened(server))
    assert "Traceback" not in server.log


async def test_who_closes_and_reads_nothing_more_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("realtime.delivery.server_protocol.CLOSE_SECONDS", 0.05)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"]["ara.prepared"].transport.write(b"\x82\x00" * 10_000_000)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    config = uvicorn.Config(application, ws=PreparedProtocol, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    listening = await asyncio.get_running_loop().create_server(
        lambda: HttpToolsProtocol(config, state, {}), "127.0.0.1", 0
    )
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        client = Peer(reader, writer)
        writer.write(request())
        assert await reader.readexactly(12) == b"HTTP/1.1 101"
        client.send(CLOSE, b"")
        await until(lambda: not state.connections)
        writer.transport.abort()


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_a_close_is_answered_with_its_own_code(server: LiveServer, code: int) -> None:
    client = await opened(server)
    client.send(CLOSE, code.to_bytes(2, "big") + b"bye")
    assert await client.closed() == code
    await client.gone()
    await client.leave()


async def test_a_close_of_ours_that_is_not_answered_ends_the_connection(
    server: LiveServer,
) -> None:
    client = await opened(server, "/ws/market-data/AAPL")
    for _ in range(20):
        client.send(TEXT, b"{")
    assert await client.closed() == 4400
    await client.gone()
    await client.leave()


async def test_sockets_that_vanish_are_forgotten(server: LiveServer) -> None:
    clients = [await opened(server) for _ in range(30)]
    for client in clients:
        raw = client.writer.get_extra_info("socket")
        # A reset instead of an orderly end.
        raw.setsockopt(network.SOL_SOCKET, network.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
    code = (
        "from realtime.connections import connection_manager\n"
        "print(connection_manager.get_connection_count('market-data'))"
    )
    async with asyncio.timeout(PATIENCE):
        while int(await asyncio.to_thread(server.shell, code)):
            pass


async def test_many_messages_in_one_packet_are_all_answered_in_order(server: LiveServer) -> None:
    client = await opened(server)
    for number in range(200):
        client.send(TEXT, json.dumps({"type": "status", "id": number}).encode())
    assert [(await client.message())["id"] for _ in range(200)] == list(range(200))
    await client.leave()
