"""Every endpoint and action with every kind of credential, over real sockets and over REST.

The tables are the contract: `OK`, a close code, or an HTTP status.
"""

import asyncio
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone

from realtime.models import ApiKey
from tests.clients import Closed, Open, Socket
from tests.consumers.conftest import connect, open_socket, people
from tests.patience import PATIENCE
from tests.processes import LiveServer

__all__ = ["connect", "open_socket", "people"]
OK = "connected"
SYMBOL = "MATRIX"  # nobody else's on the servers that tests share
# One for all: making a client takes longer than a request.
HTTP = httpx.Client(timeout=PATIENCE, trust_env=False)
ORIGIN = {"Origin": "http://localhost"}

CREDENTIALS = """
import datetime as dt, json
from django.contrib.auth.models import User
from django.utils import timezone
from realtime.models import ApiKey
from tests import personas

ALL = ("predictions", "market-data", "alerts", "publish")
anna, _ = User.objects.get_or_create(username="matrix-anna")
ivan, _ = User.objects.get_or_create(username="matrix-ivan")
ApiKey.objects.filter(owner__in=[anna, ivan]).delete()

def key(name, owner=anna, scopes=ALL, **more):
    return ApiKey.objects.create_key(owner, name, scopes=scopes, **more)

revoked, revoked_raw = key("revoked")
revoked.revoke()
good = key("good")[1]
found = {
    "jwt": personas.token(anna),
    "expired jwt": personas.expired_token(anna),
    "other algorithm": personas.forged_token(anna, algorithm="HS512"),
    "no algorithm": personas.forged_token(anna, algorithm="none"),
    "other secret": personas.forged_token(anna, key="x" * 50),
    "tampered jwt": personas.token(anna)[:-8] + "AAAAAAAA",
    "refresh token": personas.login(anna)[1],
    "key": good,
    "tampered key": good[:-8] + "AAAAAAAA",
    "unknown key": "ara_00000000_" + "A" * 32,
    "revoked key": revoked_raw,
    "expired key": key("expired", expires_at=timezone.now() - dt.timedelta(seconds=1))[1],
    "wrong symbol": key("symbol", symbols={s: ["BTC*"] for s in ALL if s != "alerts"})[1],
    "wrong origin": key("origin", allowed_origins=["https://elsewhere.example"])[1],
    "metrics key": key("metrics", scopes=["metrics"])[1],
    "inactive user": personas.token(ivan),
    "key of inactive user": key("inactive", ivan)[1],
    **{f"all but {s}": key(f"but {s}", scopes=[o for o in ALL if o != s])[1] for s in ALL},
}
ivan.is_active = False
ivan.save()
print(json.dumps(found))
"""

REFUSED = (
    "expired jwt", "other algorithm", "no algorithm", "other secret", "tampered jwt",
    "refresh token", "tampered key", "unknown key", "revoked key", "expired key",
    "inactive user", "key of inactive user", "used ticket",
)  # fmt: skip
KINDS = (
    "none", "jwt", "key", "ticket", "wrong scope", "wrong symbol", "wrong origin", *REFUSED
)  # fmt: skip
ENDPOINTS = {
    f"/ws/predictions/{SYMBOL}": "predictions",
    "/ws/predictions": "predictions",
    f"/ws/market-data/{SYMBOL}": "market-data",
    "/ws/market-data": "market-data",
    "/ws/alerts": "alerts",
}


@pytest.fixture(scope="session", autouse=True)
def _closed() -> Iterator[None]:
    """Its sockets are closed when no test asks any more."""
    yield
    HTTP.close()


@pytest.fixture(scope="module")
def secrets(server: LiveServer) -> dict[str, str]:
    found: dict[str, str] = json.loads(server.shell(CREDENTIALS))

    async def use(ticket: str) -> None:
        socket = await Socket.open(f"{server.ws}/ws/alerts?ticket={ticket}")
        await socket.until("connected")
        await socket.leave()

    found["used ticket"] = new_ticket(server, found["key"])
    asyncio.run(use(found["used ticket"]))
    return found


def new_ticket(server: LiveServer, key: str) -> str:
    answer = HTTP.post(f"{server.http}/api/v1/auth/ticket", headers={"X-API-Key": key})
    assert answer.status_code == 201
    ticket: str = answer.json()["ticket"]
    return ticket


def secret_of(server: LiveServer, secrets: dict[str, str], kind: str, scope: str) -> str | None:
    if kind == "none":
        return None
    if kind == "ticket":
        return new_ticket(server, secrets["key"])
    return secrets[f"all but {scope}" if kind == "wrong scope" else kind]


def expected_at(path: str, kind: str) -> str | int:
    """The outcome of a connection with a credential in the handshake."""
    if kind in REFUSED:
        return 4401
    if kind in ("wrong scope", "wrong origin"):
        return 4403
    return 4403 if kind == "wrong symbol" and path.endswith(SYMBOL) else OK


async def outcome(socket: Socket) -> str | int:
    """The type of the first message, or the code of the close; and that each says the same."""
    try:
        first = await socket.next()
        if first["type"] != "error":
            return str(first["type"])
        code = await socket.closed()
    except Closed as exc:
        pytest.fail(f"closed with {exc.code} without a reason")
    assert first["code"] == {4401: "invalid_token", 4403: "forbidden"}[code]
    return code


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ENDPOINTS)
async def test_connecting(
    server: LiveServer, secrets: dict[str, str], path: str, kind: str
) -> None:
    secret = secret_of(server, secrets, kind, ENDPOINTS[path])
    name = "ticket" if "ticket" in kind else "token"
    url = server.ws + path + ("" if secret is None else f"?{name}={secret}")
    socket = await Socket.open(url, headers=ORIGIN)
    assert await outcome(socket) == expected_at(path, kind)
    await socket.leave()


PLACES = {
    "authorization": lambda secret: {"headers": {"Authorization": f"Bearer {secret}"}},
    "api-key": lambda secret: {"headers": {"Authorization": f"Api-Key {secret}"}},
    "x-api-key": lambda secret: {"headers": {"X-API-Key": secret}},
    "subprotocol": lambda secret: {"subprotocols": ["ara.v1", f"ara.token.{secret}"]},
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
@pytest.mark.parametrize("place", PLACES)
async def test_each_place(
    server: LiveServer, secrets: dict[str, str], place: str, kind: str
) -> None:
    path = f"/ws/market-data/{SYMBOL}"
    secret = secret_of(server, secrets, kind, "market-data")
    arguments: dict[str, Any] = PLACES[place](secret)
    arguments["headers"] = {**arguments.get("headers", {}), **ORIGIN}
    expected = expected_at(path, kind)
    if "api-key" in place and kind in ("jwt", "ticket"):
        expected = 4401  # these places are for keys
    socket = await Socket.open(server.ws + path, **arguments)
    assert await outcome(socket) == expected
    await socket.leave()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
async def test_auth_on_an_open_socket(
    server: LiveServer, secrets: dict[str, str], kind: str
) -> None:
    socket = await Socket.open(f"{server.ws}/ws/market-data/{SYMBOL}", headers=ORIGIN)
    await socket.until("connected")
    await socket.send("auth", token=secret_of(server, secrets, kind, "market-data"))
    if kind in REFUSED:
        assert await socket.closed() == 4401
    elif kind in ("wrong scope", "wrong origin"):
        assert await socket.closed() == 4403
    else:
        await socket.until("authenticated")
        held = (await socket.ask("status"))["symbols"]
        assert held == ([] if kind == "wrong symbol" else [SYMBOL])
    await socket.leave()


ACTIONS = {
    "subscribe": {"type": "subscribe", "symbols": [SYMBOL]},
    "subscribe to all": {"type": "subscribe", "symbols": ["*"]},
    "request_prediction": {"type": "request_prediction", "symbol": SYMBOL},
}


@pytest.mark.parametrize("kind", ["none", "jwt", "key", "ticket", "wrong symbol"])
@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_on_a_socket(
    server: LiveServer, secrets: dict[str, str], action: str, kind: str
) -> None:
    secret = secret_of(server, secrets, kind, "predictions")
    name = "ticket" if kind == "ticket" else "token"
    query = "" if secret is None else f"?{name}={secret}"
    socket = await Socket.open(f"{server.ws}/ws/predictions{query}")
    await socket.until("connected")
    message = dict(ACTIONS[action])
    answer = await socket.ask(str(message.pop("type")), **message)
    if kind == "wrong symbol":
        assert (answer["type"], answer["code"]) == ("error", "forbidden")
    else:
        assert answer["type"] in ("subscribed", "prediction_requested")
    await socket.leave()


BODIES = {
    "publish": {"type": "market_data_update", "symbol": SYMBOL, "data": {"price": 1}},
    "predictions": {"symbol": SYMBOL, "data": {"predicted_price": 1}},
}
# For nobody, a user's token, a key with every scope that customers have, one without `publish`, one
# for other symbols, and one for metrics only.
REST: dict[tuple[str, str], tuple[int, int, int, int, int, int]] = {
    ("GET", "connections"): (401, 403, 403, 403, 403, 200),
    ("POST", "publish"): (401, 403, 201, 403, 403, 403),
    ("POST", "predictions"): (401, 403, 201, 403, 403, 403),
    ("GET", "predictions"): (200, 200, 200, 200, 200, 403),
    ("GET", f"market-data/{SYMBOL}/bars"): (200, 200, 200, 200, 403, 403),
    ("GET", "alert-rules"): (401, 200, 200, 200, 200, 403),
    ("GET", "keys"): (401, 200, 403, 403, 403, 403),
    ("POST", "keys/aaaaaaaa/rotate"): (401, 404, 403, 403, 403, 403),
    ("PATCH", "keys/aaaaaaaa"): (401, 404, 403, 403, 403, 403),
    ("DELETE", "keys/aaaaaaaa"): (401, 404, 403, 403, 403, 403),
    ("POST", "auth/ticket"): (401, 201, 201, 201, 201, 201),
    ("POST", "auth/logout-everywhere"): (401, 204, 403, 403, 403, 403),
}
COLUMNS = {
    "none": 0, "jwt": 1, "key": 2, "ticket": 2, "wrong scope": 3, "wrong symbol": 4,
    "metrics key": 5,
}  # fmt: skip


def expected_over_rest(method: str, path: str, kind: str) -> int:
    if kind in REFUSED:
        return 401
    # The origins of a key hold for every request of a page.
    return 403 if kind == "wrong origin" else REST[method, path][COLUMNS[kind]]


@pytest.mark.parametrize("kind", [*KINDS, "metrics key"])
@pytest.mark.parametrize(("method", "path"), REST)
def test_rest(
    server: LiveServer, secrets: dict[str, str], method: str, path: str, kind: str
) -> None:
    secret = secret_of(server, secrets, kind, "publish")
    body = {} if method in ("GET", "DELETE") else {"json": BODIES.get(path, {})}
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    url = f"{server.http}/api/v1/{path}"
    answer = HTTP.request(method, url, headers={**ORIGIN, **headers}, **body)
    assert answer.status_code == expected_over_rest(method, path, kind)
    if answer.status_code >= 400:
        assert list(answer.json()) == ["detail"]
        assert secret is None or secret not in answer.text


# What it costs --------------------------------------------------------------------------------


def queries_begin() -> None:
    connection.force_debug_cursor = True
    connection.queries_log.clear()


def queries() -> list[str]:
    return [query["sql"] for query in connection.queries_log]


@pytest.mark.parametrize("credential", ["token", "key"])
async def test_an_authenticated_connect_costs_one_query_cold_and_none_warm(
    connect: Open, people: SimpleNamespace, credential: str
) -> None:
    # The use of a key is noted once a minute, and nobody waits for that.
    await ApiKey.objects.aupdate(last_used_at=timezone.now())
    path = f"/ws/market-data/AAPL?token={getattr(people, credential)}"
    # In the thread whose connection the server's own queries use.
    await sync_to_async(queries_begin)()
    await connect(path)
    assert len(await sync_to_async(queries)()) == 1
    await connect(path)
    assert len(await sync_to_async(queries)()) == 1


async def test_an_anonymous_connect_costs_no_query(connect: Open, people: SimpleNamespace) -> None:
    await sync_to_async(queries_begin)()
    await connect("/ws/market-data/AAPL")
    assert await sync_to_async(queries)() == []
