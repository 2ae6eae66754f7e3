from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from ara_project.asgi import application
from tests import personas
from tests.clients import InProcess, Open


@pytest.fixture
async def open_socket() -> AsyncIterator[Open]:
    """A function that opens a socket and reads nothing from it yet."""
    clients: list[InProcess] = []

    async def open(path: str, *, numbered: bool = True, **arguments: Any) -> InProcess:
        client = InProcess(application, path, numbered=numbered, **arguments)
        clients.append(client)
        await client.open()
        return client

    yield open
    for client in clients:
        await client.leave()


@pytest.fixture
async def connect(open_socket: Open) -> Open:
    """A function that opens a socket and reads its `connected`."""

    async def connect(path: str, **arguments: Any) -> InProcess:
        client = await open_socket(path, **arguments)
        message = await client.next()
        assert message["type"] == "connected"
        return client

    return connect


@pytest.fixture
def people(transactional_db: None) -> SimpleNamespace:
    alice = personas.alice()
    key, raw = personas.bob_key()
    _, revoked = personas.mallory_key()
    return SimpleNamespace(
        alice=alice,
        token=personas.token(alice),
        key=raw,
        key_row=key,
        revoked=revoked,
        expired=personas.expired_token(alice),
        forged=personas.forged_token(alice, key="x" * 50),
    )
