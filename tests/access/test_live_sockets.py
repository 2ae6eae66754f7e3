"""A credential that stops working stops its sockets, in every process, within a second."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from tests.patience import PATIENCE, START_SECONDS, scaled
from tests.processes import LiveServer
from tests.wire import checked

SETUP = """
import json
from django.contrib.auth.models import User
from realtime.access.tokens import SessionRefreshToken
from realtime.models import ApiKey
alice, _ = User.objects.get_or_create(username="alice")
bob, _ = User.objects.get_or_create(username="bob")
User.objects.update(is_active=True)
ApiKey.objects.all().delete()
key, raw = ApiKey.objects.create_key(bob, "desk")
refresh = SessionRefreshToken.for_user(alice)
print(json.dumps({"key": raw, "jwt": str(refresh.access_token), "refresh": str(refresh)}))
"""
KEY = "from realtime.models import ApiKey; key = ApiKey.objects.get(name='desk')\n"
CHANGED = "from realtime.access.revocation import key_changed; key_changed(key)\n"
USER = "from django.contrib.auth.models import User\n"


@pytest.fixture(scope="module")
def servers(module_servers: Callable[..., LiveServer]) -> tuple[LiveServer, LiveServer]:
    return module_servers(), module_servers()


@pytest.fixture
def credentials(servers: tuple[LiveServer, LiveServer]) -> dict[str, str]:
    answer: dict[str, str] = json.loads(servers[0].shell(SETUP))
    return answer


async def connected(server: LiveServer, path: str, token: str) -> ClientConnection:
    socket = await websockets.connect(f"{server.ws}{path}?token={token}")
    assert checked(await socket.recv())["type"] == "connected"
    return socket


async def status_of(socket: ClientConnection) -> dict[str, Any]:
    await socket.send('{"type":"status"}')
    return checked(await socket.recv())


async def closed(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None, float]:
    """What came until the close, its code, and when it came."""
    messages = []
    with contextlib.suppress(websockets.ConnectionClosedError):
        async with asyncio.timeout(START_SECONDS):
            async for frame in socket:
                messages.append(checked(frame))
    await socket.wait_closed()
    return messages, socket.close_code, time.time()


CHANGES = {
    "a key is revoked": ("key", KEY + "key.revoke()\n" + CHANGED),
    "a key is deleted": (
        "key",
        KEY + "from realtime.access.revocation import key_changed\n"
        "from django.db import transaction\n"
        "with transaction.atomic(): key_changed(key); key.delete()\n",
    ),
    "a key is rotated without overlap": ("key", KEY + "key.rotate()\n" + CHANGED),
    "the owner of a key is deactivated": (
        "key",
        USER + "from realtime.access.revocation import user_changed\n"
        "User.objects.filter(username='bob').update(is_active=False)\n"
        "user_changed(User.objects.get(username='bob').pk)\n",
    ),
    "a user is deactivated": (
        "jwt",
        USER + "from realtime.access.revocation import user_changed\n"
        "User.objects.filter(username='alice').update(is_active=False)\n"
        "user_changed(User.objects.get(username='alice').pk)\n",
    ),
    "a user is logged out everywhere": (
        "jwt",
        USER + "from realtime.access.revocation import log_out_everywhere\n"
        "log_out_everywhere(User.objects.get(username='alice').pk)\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
async def test_sockets_close_in_every_process_when(
    change: str, servers: tuple[LiveServer, LiveServer], credentials: dict[str, str]
) -> None:
    kind, code = CHANGES[change]
    sockets = [
        await connected(server, path, credentials[kind])
        for server in servers
        for path in ("/ws/market-data/AAPL", "/ws/alerts")
    ]
    bystander = await connected(
        servers[0], "/ws/alerts", credentials["jwt" if kind == "key" else "key"]
    )
    # They are watched while the shell still has to start, and while it ends.
    watched = [asyncio.create_task(closed(socket)) for socket in sockets]
    began = float(
        await asyncio.to_thread(servers[0].shell, code + "import time; print(time.time())")
    )
    for messages, close_code, at in await asyncio.gather(*watched):
        assert close_code == 4401
        assert messages[-1]["code"] == "invalid_token"
        assert at - began < scaled(3)
    assert bystander.state.name == "OPEN"
    await bystander.close()


async def test_a_rotation_with_overlap_leaves_the_sockets_alone(
    servers: tuple[LiveServer, LiveServer], credentials: dict[str, str]
) -> None:
    socket = await connected(servers[0], "/ws/market-data/AAPL", credentials["key"])
    code = "from datetime import timedelta\nkey.rotate(timedelta(seconds=3600))\n"
    await asyncio.to_thread(servers[0].shell, KEY + code + CHANGED)
    async with asyncio.timeout(PATIENCE):
        # The old secret's end is known as soon as the server has heard of the change.
        while (await status_of(socket))["credential"]["expires_at"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await socket.close()


async def test_a_scope_that_is_taken_away_ends_its_subscriptions(
    servers: tuple[LiveServer, LiveServer], credentials: dict[str, str]
) -> None:
    socket = await connected(servers[1], "/ws/market-data/AAPL", credentials["key"])
    await socket.send('{"type":"subscribe","symbols":["MSFT"]}')
    assert checked(await socket.recv())["type"] == "subscribed"
    code = "key.symbols = {'market-data': ['MS*']}; key.save()\n"
    await asyncio.to_thread(servers[0].shell, KEY + code + CHANGED)
    error = checked(await socket.recv())
    assert error["code"] == "forbidden"
    assert error["details"]["symbols"] == {"AAPL": "forbidden"}
    await socket.send('{"type":"status"}')
    assert checked(await socket.recv())["symbols"] == ["MSFT"]
    code = "key.scopes = ['alerts']; key.symbols = {}; key.save()\n"
    await asyncio.to_thread(servers[0].shell, KEY + code + CHANGED)
    messages, close_code, _ = await closed(socket)
    assert (messages[-1]["code"], close_code) == ("forbidden", 4403)
