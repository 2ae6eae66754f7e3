"""Limits over all processes: connections, handshakes, messages."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from realtime.limits.policy import Subject
from realtime.limits.rates import Allowance, TokenBucket
from tests.delivery.waiting import until
from tests.patience import PATIENCE, scaled
from tests.processes import LiveServer
from tests.wire import checked

PATH = "/ws/market-data/AAPL"


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[ClientConnection]]]:
    """`await connect(server, query)`: a socket that is closed at the end of the test."""
    sockets: list[ClientConnection] = []

    async def open_socket(server: LiveServer, query: str = "") -> ClientConnection:
        sockets.append(await websockets.connect(server.ws + PATH + query))
        return sockets[-1]

    yield open_socket
    for socket in sockets:
        await socket.close()


Connect = Callable[..., Awaitable[ClientConnection]]

_KEY = """
from tests import personas
key, raw = personas.bob_key(name="surplus")
print(raw, key.pk)
"""
_LOWER = """
from realtime.models import ApiKey
key = ApiKey.objects.get(pk={pk})
key.max_connections = 2
key.save()
"""


async def first(socket: ClientConnection) -> dict[str, Any]:
    return checked(await asyncio.wait_for(socket.recv(), PATIENCE))


def test_every_subject_of_a_limit_has_a_name_for_clients() -> None:
    assert all(subject.named for subject in Subject)


@pytest.mark.postgres
async def test_the_connection_limit_holds_over_two_processes(
    start_server: Callable[..., LiveServer], connect: Connect
) -> None:
    limit = {"REALTIME_CONNECTIONS_PER_IP": "3"}
    servers = [start_server(**limit), start_server(**limit)]
    held = [await connect(servers[number % 2]) for number in range(3)]
    assert [(await first(socket))["type"] for socket in held] == ["connected"] * 3
    for server in servers:
        refused = await connect(server)
        error = await first(refused)
        assert error["code"] == "connection_limit"
        assert error["retry"] is True
        assert error["retry_after_ms"] > 0
        await refused.wait_closed()
        assert refused.close_code == 4429
    await held.pop().close()
    async with asyncio.timeout(PATIENCE):
        while True:
            async with websockets.connect(servers[0].ws + PATH) as socket:
                if (await first(socket))["type"] == "connected":
                    break


async def test_a_lowered_limit_of_a_key_holds_over_two_processes(
    start_server: Callable[..., LiveServer], connect: Connect
) -> None:
    servers = [start_server(), start_server()]
    raw, pk = servers[0].shell(_KEY).split()
    sockets = [await connect(servers[number % 2], f"?token={raw}") for number in range(6)]
    for socket in sockets:
        assert (await first(socket))["type"] == "connected"
    servers[1].shell(_LOWER.format(pk=pk))
    await until(lambda: sum(socket.close_code is not None for socket in sockets) == 4)
    gone = [socket for socket in sockets if socket.close_code is not None]
    assert {socket.close_code for socket in gone} == {4429}
    for socket in sockets:
        if socket not in gone:
            await socket.send('{"type":"status"}')
            assert (await first(socket))["type"] == "status"


@pytest.mark.slow
async def test_a_killed_process_frees_its_share_within_20_seconds(
    start_server: Callable[..., LiveServer], connect: Connect
) -> None:
    limit = {"REALTIME_CONNECTIONS_PER_IP": "2"}
    doomed, other = start_server(**limit), start_server(**limit)
    held = [await connect(doomed) for _ in range(2)]
    assert [(await first(socket))["type"] for socket in held] == ["connected"] * 2
    doomed.kill()
    async with asyncio.timeout(scaled(20)):
        while True:
            async with websockets.connect(other.ws + PATH) as socket:
                if (await first(socket))["type"] == "connected":
                    return
            await asyncio.sleep(0.5)


async def test_close_oldest_makes_room_in_another_process(
    start_server: Callable[..., LiveServer], connect: Connect
) -> None:
    limit = {
        "REALTIME_CONNECTIONS_PER_IP": "2",
        "REALTIME_CONNECTION_LIMIT_POLICY": "close_oldest",
    }
    servers = [start_server(**limit), start_server(**limit)]
    oldest, younger = [await connect(server) for server in servers]
    assert [(await first(socket))["type"] for socket in (oldest, younger)] == ["connected"] * 2
    async with websockets.connect(servers[1].ws + PATH) as newest:
        assert (await first(newest))["type"] == "connected"
        assert (await first(oldest))["code"] == "connection_limit"
        await oldest.wait_closed()
        assert oldest.close_code == 4429
        await younger.send('{"type":"status"}')
        assert (await first(younger))["type"] == "status"


async def test_handshakes_are_limited_by_address(start_server: Callable[..., LiveServer]) -> None:
    server = start_server(REALTIME_HANDSHAKES_PER_IP_PER_MINUTE="3")
    kinds = []
    for _ in range(4):
        async with websockets.connect(server.ws + PATH) as socket:
            kinds.append((await first(socket))["type"])
    assert kinds == ["connected"] * 3 + ["error"]


async def test_messages_are_limited_and_the_socket_lives(
    start_server: Callable[..., LiveServer],
) -> None:
    server = start_server(REALTIME_MESSAGES_PER_SECOND="1", REALTIME_MESSAGES_BURST="2")
    async with websockets.connect(server.ws + PATH) as socket:
        await first(socket)
        for number in range(3):
            await socket.send(json.dumps({"type": "status", "id": number}))
        answers = [await first(socket) for _ in range(3)]
        assert [answer["type"] for answer in answers] == ["status", "status", "error"]
        assert answers[2]["code"] == "rate_limited"
        assert answers[2]["id"] == 2
        assert 0 < answers[2]["retry_after_ms"] <= 1001


def test_a_token_bucket_takes_several_at_once() -> None:
    bucket = TokenBucket(2, 3, clock=lambda: 0.0)
    assert [bucket.take(2), bucket.take(2), bucket.take(1)] == [0, 0.5, 0]
    assert bucket.take(100) == 1.5  # when there are as many as there may be


def test_a_token_bucket_refills() -> None:
    now = [0.0]
    bucket = TokenBucket(2, 3, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.5
    assert bucket.take() == 0
    assert bucket.take() > 0


def test_an_allowance_forgets_after_a_minute() -> None:
    now = [0.0]
    allowance = Allowance(2, clock=lambda: now[0])
    assert [allowance.take() for _ in range(3)] == [True, True, False]
    assert allowance.wait == 60
    now[0] = 61
    assert allowance.left == 2


def test_an_allowance_that_was_stopped_goes_on_after_that_time() -> None:
    now = [0.0]
    allowance = Allowance(2, clock=lambda: now[0])
    assert allowance.take()
    allowance.stop(30)
    assert (allowance.take(), allowance.left, allowance.wait) == (False, 0, 30)
    now[0] = 30
    assert (allowance.take(), allowance.left, allowance.wait) == (True, 0, 30)
