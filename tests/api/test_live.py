"""REST and WebSockets together, on each server."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests import personas
from tests.processes import LiveServer

TIMEOUT = 20
MAKE = """
from realtime.models import ApiKey
from rest_framework_simplejwt.tokens import AccessToken
from tests import personas
scopes = ["predictions", "publish", "metrics"]
print(ApiKey.objects.create_key(personas.alice(), "{name}", scopes=scopes)[1])
print(personas.token(personas.alice()))
"""


@pytest.fixture
def credentials(server: LiveServer, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A key of Alice, who may publish with it, and her token."""
    key, token = server.shell(MAKE.format(name=request.node.name)).split()
    return key, token


async def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    async with asyncio.timeout(TIMEOUT):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["type"] == kind:
                return message


async def test_an_update_over_rest_reaches_a_socket(
    server: LiveServer, credentials: tuple[str, str]
) -> None:
    key, token = credentials
    async with (
        connect(f"{server.ws}/ws/predictions/RESTLIVE?token={token}") as socket,
        httpx.AsyncClient(base_url=server.http, headers={"X-API-Key": key}, timeout=TIMEOUT) as api,
    ):
        assert (await until(socket, "connected"))["authenticated"] is True
        answer = await api.post(
            "/api/v1/publish",
            json={"type": "prediction_update", "symbol": "RESTLIVE", "data": {"marked": 7}},
        )
        assert answer.status_code == 201
        update = await until(socket, "prediction_update")
        assert (update["data"], update["offset"]) == ({"marked": 7}, answer.json()["offset"])
        async with asyncio.timeout(TIMEOUT):
            predictions = 0
            while predictions != 1:
                counts = (await api.get("/api/v1/connections")).json()["counts"]
                predictions = counts["predictions"]


async def test_a_token_from_the_password_opens_a_socket(server: LiveServer) -> None:
    server.shell("from tests import personas; personas.alice()")
    async with httpx.AsyncClient(base_url=server.http, timeout=TIMEOUT) as api:
        body = {"username": "alice", "password": personas.PASSWORD}
        token = (await api.post("/api/v1/auth/token", json=body)).json()["access"]
    async with connect(f"{server.ws}/ws/alerts?token={token}") as socket:
        assert (await until(socket, "connected"))["authenticated"] is True


async def test_nothing_of_a_credential_is_in_the_servers_log(
    server: LiveServer, credentials: tuple[str, str]
) -> None:
    bad = "eyJhbGciOiJIUzI1NiJ9.e30.bWFya2VkLXNlY3JldA"
    for secret in (*credentials, bad, "marked-opaque-secret"):
        for query, headers in (
            (f"?token={secret}", {}),
            (f"?ticket={secret}", {}),
            ("", {"Authorization": f"Bearer {secret}"}),
            ("", {"X-API-Key": secret}),
            ("", {}),
        ):
            protocols = None if query or headers else ["ara.v1", f"ara.token.{secret}"]
            async with connect(
                f"{server.ws}/ws/alerts{query}",
                additional_headers=headers,
                subprotocols=protocols,  # type: ignore[arg-type]
            ) as socket:
                await asyncio.wait_for(socket.recv(), TIMEOUT)
            async with httpx.AsyncClient(timeout=TIMEOUT) as api:
                await api.get(f"{server.http}/api/v1/connections{query}", headers=headers)
        assert secret not in server.log
        assert secret.rsplit(".", 1)[-1].rsplit("_", 1)[-1] not in server.log


async def test_a_ticket_opens_one_socket_over_all_processes(
    start_server: Callable[..., LiveServer],
) -> None:
    first, second = start_server(), start_server()
    key = first.shell(MAKE.format(name="ticket")).split()[0]
    async with httpx.AsyncClient(headers={"X-API-Key": key}, timeout=TIMEOUT) as api:
        answer = await api.post(f"{first.http}/api/v1/auth/ticket")
    path = f"/ws/predictions/AAPL?ticket={answer.json()['ticket']}"
    async with connect(second.ws + path) as socket:
        assert (await until(socket, "connected"))["authenticated"] is True
    for server in (first, second):
        async with connect(server.ws + path) as socket:
            assert (await until(socket, "error"))["code"] == "invalid_token"
            await asyncio.wait_for(socket.wait_closed(), TIMEOUT)
            assert socket.close_code == 4401


async def test_dry_runs_that_are_sent_at_once_are_not_computed_at_once(
    server: LiveServer, credentials: tuple[str, str]
) -> None:
    key, token = credentials
    headers = {"Authorization": f"Bearer {token}"}
    rule = {"symbols": ["DRY"], "conditions": [{"type": "above", "value": 150}]}
    async with httpx.AsyncClient(base_url=server.http, timeout=TIMEOUT) as api:
        update = {"type": "market_data_update", "symbol": "DRY", "data": {"price": 151}}
        published = await api.post("/api/v1/publish", json=update, headers={"X-API-Key": key})
        assert published.status_code == 201
        attempts = (
            api.post("/api/v1/alert-rules/dry-run", json=rule, headers=headers) for _ in range(6)
        )
        answers = await asyncio.gather(*attempts)
    done = [answer.json()["fired"] for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert set(done) == {1}
    assert refused
    assert {(each.status_code, each.headers["Retry-After"]) for each in refused} == {(429, "5")}
