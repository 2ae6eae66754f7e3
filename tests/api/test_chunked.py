"""Bodies of unknown length, `Transfer-Encoding: chunked`, on each server."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import personas
from tests.live import create_people
from tests.patience import PATIENCE
from tests.processes import LiveServer

MARKET = {"type": "market_data_update", "symbol": "CHK", "data": {"price": 1}}


def chunks(body: Any) -> Iterator[bytes]:
    for sign in json.dumps(body):
        yield sign.encode()


def send(server: LiveServer, method: str, path: str, body: Any, **headers: str) -> httpx.Response:
    headers["Content-Type"] = "application/json"
    url = f"{server.http}/api/v1/{path}"
    return httpx.request(method, url, content=chunks(body), headers=headers, timeout=PATIENCE)


@pytest.fixture
def people(server: LiveServer) -> Any:
    return create_people(server)


@pytest.fixture
def key(server: LiveServer, request: pytest.FixtureRequest) -> str:
    """One that may publish."""
    make = f"personas.bob_key(name='{request.node.name[:60]}', scopes=['publish'])[1]"
    return server.shell(f"from tests import personas; print({make})").strip()


def test_an_update_is_published(server: LiveServer, key: str) -> None:
    answer = send(server, "POST", "publish", [MARKET, MARKET], **{"X-API-Key": key})
    assert answer.status_code == 201, answer.text
    assert len(answer.json()) == 2


def test_somebody_logs_in(server: LiveServer, people: Any) -> None:
    login = {"username": "alice", "password": personas.PASSWORD}
    assert "access" in send(server, "POST", "auth/token", login).json()


def test_a_rule_is_made_and_changed(server: LiveServer, people: Any) -> None:
    login = {"Authorization": f"Bearer {people.token}"}
    rule = {"name": "one", "symbol": "AAPL", "condition": "above", "threshold": 150}
    made = send(server, "POST", "alert-rules", rule, **login)
    assert made.status_code == 201, made.text
    path = f"alert-rules/{made.json()['id']}"
    assert send(server, "PATCH", path, {"name": "two"}, **login).json()["name"] == "two"
    httpx.delete(f"{server.http}/api/v1/{path}", headers=login)


def test_a_body_that_is_too_large_is_refused(server: LiveServer, key: str) -> None:
    body = iter([b'{"type": "', *[b"x" * 65536] * 60, b'"}'])
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    answer = httpx.post(
        f"{server.http}/api/v1/publish", content=body, headers=headers, timeout=PATIENCE
    )  # fmt: skip
    assert answer.status_code == 413


def test_a_body_of_no_chunk_is_empty(server: LiveServer, key: str) -> None:
    url = f"{server.http}/api/v1/publish"
    answer = httpx.post(url, content=iter([]), headers={"X-API-Key": key})
    assert answer.status_code == 400
