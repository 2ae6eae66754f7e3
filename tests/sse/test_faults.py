"""Server-sent events of `manage.py serve` when something goes wrong, and at the limits."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from realtime.broadcast import abroadcast_market_data, asend_alert
from tests.clients import Socket, narrow_socket
from tests.live import create_people, publish_to
from tests.patience import PATIENCE
from tests.processes import LiveServer, Valkey
from tests.sse.events import listen

pytestmark = pytest.mark.slow

LARGE = "x" * 8000
NEW_KEY = """
from tests import personas
print(personas.bob_key(name="{name}", max_connections={most})[1])
"""


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., LiveServer]) -> LiveServer:
    return module_servers(
        REALTIME_HTTP_CONCURRENCY="1",
        REALTIME_HEARTBEAT_INTERVAL="0.3",
        REALTIME_OUTBOX_BYTES="300000",
    )


@pytest.fixture(autouse=True)
def _publish(server: LiveServer, settings: Any) -> None:
    publish_to(server, settings)


@pytest.fixture
def people(server: LiveServer) -> SimpleNamespace:
    return create_people(server)


def new_key(server: LiveServer, name: str, most: int = 0) -> str:
    return server.shell(NEW_KEY.format(name=name, most=most)).strip()


class SlowReader:
    """Reads nothing until it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, server: LiveServer, path: str) -> "SlowReader":
        sock = await narrow_socket(server.ws)
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        await asyncio.wait_for(reader.readuntil(b"connected"), PATIENCE)
        return cls(reader, writer)

    async def read_until(self, text: bytes) -> bytes:
        """All up to this text, without the marks of chunks."""
        found = b""
        async with asyncio.timeout(PATIENCE):
            while text not in found[-20_000:]:
                piece = await self.reader.read(4096)
                found += piece
                if not piece:
                    break
        return found


async def test_heartbeats_are_comments(server: LiveServer) -> None:
    async with listen(f"{server.http}/sse/market-data/AAPL") as events:
        await events.until("connected")
        await asyncio.sleep(1)
        await abroadcast_market_data("AAPL", {"price": 1})
        await events.until("market_data_update")
        assert events.comments.count(": heartbeat") >= 2
        assert "ping" not in {each["type"] for each in events.seen}


async def test_streams_take_no_place_of_requests(server: LiveServer) -> None:
    url = f"{server.http}/sse/market-data/AAPL"
    async with listen(url) as one, listen(url) as two:
        await one.until("connected")
        await two.until("connected")
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            answer = await client.get(f"{server.http}/api/v1/predictions/latest")
    assert answer.status_code == 200


async def test_a_slow_reader_is_folded_and_ends_with_the_newest(server: LiveServer) -> None:
    reader = await SlowReader.open(server, "/sse/market-data/SLOW")
    for price in range(600):
        await abroadcast_market_data("SLOW", {"price": price, "text": LARGE})
    found = await reader.read_until(b'"offset":600')
    assert b'"folded":' in found
    assert found.count(b"data: ") < 600
    reader.writer.close()


async def test_a_reader_that_is_too_slow_for_its_alerts_is_closed(server: LiveServer) -> None:
    reader = await SlowReader.open(server, "/sse/alerts")
    for _ in range(200):
        await asend_alert({"message": "m", "text": LARGE})
    found = await reader.read_until(b"nothing of this kind")
    assert found.count(b"data: ") < 200
    reader.writer.close()


async def test_a_revoked_key_ends_its_streams(server: LiveServer) -> None:
    key = new_key(server, "revoked-later")
    url = f"{server.http}/sse/market-data/AAPL"
    async with listen(url, x_api_key=key) as events:
        await events.until("connected")
        await asyncio.to_thread(server.manage, "revoke_api_key", key.split("_")[1])
        await events.until("error", code="invalid_token")
        await events.ended()
    async with listen(url, x_api_key=key) as again:
        assert again.status == 401
        assert again.headers["www-authenticate"].startswith("Bearer")


async def test_connections_of_a_key_are_counted_with_its_sockets(server: LiveServer) -> None:
    key = new_key(server, "single", most=1)
    url = f"{server.http}/sse/market-data/AAPL"
    async with listen(url, x_api_key=key) as events:
        await events.until("connected")
        socket = await Socket.open(f"{server.ws}/ws/alerts?token={key}")
        assert await socket.closed() == 4429
        async with listen(url, x_api_key=key) as second:
            assert (second.status, second.headers["retry-after"]) == (429, "5")
    async with asyncio.timeout(PATIENCE):
        while True:  # the place is free when the server has seen the end
            async with listen(url, x_api_key=key) as again:
                if again.status == 200:
                    break


async def test_a_ticket_is_good_for_one_connection(
    server: LiveServer, people: SimpleNamespace
) -> None:
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        headers = {"X-API-Key": people.key}
        answer = await client.post(f"{server.http}/api/v1/auth/ticket", headers=headers)
    url = f"{server.http}/sse/market-data/AAPL?ticket={answer.json()['ticket']}"
    async with listen(url) as events:
        assert (await events.next())["authenticated"] is True
    async with listen(url) as again:
        assert again.status == 401
    assert answer.json()["ticket"] not in server.log


async def test_where_anonymous_clients_are_not_served_they_hear_so_at_once(
    module_servers: Callable[..., LiveServer],
) -> None:
    closed = module_servers(REALTIME_ALLOW_ANONYMOUS="false", REALTIME_AUTH_TIMEOUT="3600")
    async with listen(f"{closed.http}/sse/market-data/AAPL") as events:
        assert events.status == 401
        assert "ticket" in await events.detail()


async def test_a_server_that_stops_says_when_to_come_back(
    module_servers: Callable[..., LiveServer],
) -> None:
    stopping = module_servers(REALTIME_DRAIN_SECONDS="1")
    async with listen(f"{stopping.http}/sse/market-data/AAPL") as events:
        await events.until("connected")
        stopping.process.terminate()
        message = await events.until("server_shutdown")
        assert events.retry == message["reconnect_in_ms"]
        await events.ended()
    assert await asyncio.to_thread(stopping.process.wait, PATIENCE) == 0
    assert "Traceback" not in stopping.log


async def test_a_stream_outlives_its_redis(
    start_server: Callable[..., LiveServer], settings: Any, tmp_path: Path
) -> None:
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with Valkey(tmp_path / "redis", tcp=True, arguments=durable) as redis:
        web = start_server("uvicorn", REDIS_URL=redis.url)
        publish_to(web, settings)
        await abroadcast_market_data("AAPL", {"price": 1})
        async with listen(f"{web.http}/sse/market-data/AAPL") as events:
            await events.offsets(1)
            redis.kill()
            await events.until("stream_status", state="stale")
            redis.start()
            await events.until("stream_status", state="fresh")
            await abroadcast_market_data("AAPL", {"price": 2})
            assert await events.offsets(1) == [2]
            last = events.last_id
        async with listen(f"{web.http}/sse/market-data/AAPL", last_event_id=last) as again:
            assert (await again.next())["streams"]["AAPL"]["recovered"] is True
        assert "Traceback" not in web.log


async def test_nothing_is_left_of_streams_that_have_gone(server: LiveServer) -> None:
    async with listen(f"{server.http}/sse/predictions/GONE") as events:
        await events.until("connected")
    key = {"X-API-Key": server.shell("from tests import personas; print(personas.scraper_key())")}
    async with httpx.AsyncClient(timeout=PATIENCE) as client, asyncio.timeout(PATIENCE):
        while True:
            headers = {name: value.strip() for name, value in key.items()}
            answer = await client.get(f"{server.http}/api/v1/connections", headers=headers)
            if json.loads(answer.text)["counts"].get("predictions", 0) == 0:
                break
    assert "Traceback" not in server.log
