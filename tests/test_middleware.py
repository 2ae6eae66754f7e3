from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser

from realtime.access.identity import ANONYMOUS
from realtime.middleware import TokenAuthMiddleware
from tests import personas
from tests.conftest import REDIS
from tests.processes import free_port

pytestmark = pytest.mark.django_db(transaction=True)


async def scope_seen(
    query: str = "", headers: Any = (), subprotocols: Any = (), **more: Any
) -> dict[str, Any]:
    """The scope that the application behind the middleware gets."""
    seen: dict[str, Any] = {}

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.update(scope)

    scope = {
        "type": "websocket",
        "headers": list(headers),
        "query_string": query.encode(),
        "subprotocols": list(subprotocols),
        **more,
    }
    before = dict(scope)
    await TokenAuthMiddleware(application)(scope, None, None)
    assert scope == before
    return seen


async def test_nobody_is_anonymous_without_an_error() -> None:
    scope = await scope_seen()
    assert isinstance(scope["user"], AnonymousUser)
    assert scope["auth"] is ANONYMOUS
    assert scope["auth_error"] is None


async def test_alice_comes_with_a_token_in_any_place() -> None:
    alice = await sync_to_async(personas.alice)()
    token = personas.token(alice)
    for scope in (
        await scope_seen(query=f"token={token}"),
        await scope_seen(headers=[(b"authorization", f"Bearer {token}".encode())]),
        await scope_seen(subprotocols=["ara.v1", f"ara.token.{token}"]),
    ):
        assert scope["user"] == alice
        assert scope["auth"].kind == "jwt"
        assert scope["auth_error"] is None


async def test_bob_comes_with_a_key_in_any_place() -> None:
    _, raw = await sync_to_async(personas.bob_key)()
    for scope in (
        await scope_seen(query=f"token={raw}"),
        await scope_seen(headers=[(b"authorization", f"Api-Key {raw}".encode())]),
        await scope_seen(headers=[(b"x-api-key", raw.encode())]),
        await scope_seen(subprotocols=["ara.v1", f"ara.token.{raw}"]),
    ):
        assert scope["user"].username == "bob"
        assert scope["auth"].kind == "api_key"


async def test_mallory_is_told_and_is_nobody() -> None:
    _, raw = await sync_to_async(personas.mallory_key)()
    scope = await scope_seen(query=f"token={raw}")
    assert "invalid, expired or revoked" in scope["auth_error"]
    assert scope["auth"] is ANONYMOUS
    assert raw not in scope["auth_error"]


async def test_an_expired_token_is_told() -> None:
    alice = await sync_to_async(personas.alice)()
    scope = await scope_seen(query=f"token={personas.expired_token(alice)}")
    assert "expired" in scope["auth_error"]


async def test_a_bad_credential_is_not_saved_by_a_good_one_in_a_later_place() -> None:
    _, raw = await sync_to_async(personas.bob_key)()
    scope = await scope_seen(query=f"token={raw}", headers=[(b"authorization", b"Bearer nonsense")])
    assert scope["auth_error"] is not None


async def test_bytes_of_no_encoding_are_told() -> None:
    scope = await scope_seen(headers=[(b"authorization", b"Bearer \xff\xfe\x00")])
    assert scope["auth_error"] is not None


async def test_a_ticket_that_nobody_can_look_up_is_neither_good_nor_bad(settings: Any) -> None:
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    scope = await scope_seen(query="ticket=arat_x")
    assert scope["auth_unavailable"]
    assert scope["auth_error"] is None
    assert scope["auth"] is ANONYMOUS
