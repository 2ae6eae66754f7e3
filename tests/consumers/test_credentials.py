"""Who may connect, and what becomes of a socket whose credential changes."""

import asyncio
import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from rest_framework_simplejwt.tokens import AccessToken

from realtime.access.revocation import key_changed
from realtime.conf import conf
from realtime.session import credential
from tests import personas
from tests.clients import Open, wait_for
from tests.conftest import REDIS
from tests.consumers import bearer, price, publish, publish_alert
from tests.patience import scaled
from tests.processes import free_port


@pytest.mark.parametrize("credential", ["token", "key"])
async def test_a_good_credential_is_authenticated(
    connect: Open, people: SimpleNamespace, credential: str
) -> None:
    secret = getattr(people, credential)
    for client in (
        await connect(f"/ws/alerts?token={secret}"),
        await connect("/ws/alerts", subprotocols=["ara.v1", f"ara.token.{secret}"]),
    ):
        assert client.seen[0]["authenticated"] is True


async def test_the_subprotocol_without_the_token_is_selected(
    connect: Open, people: SimpleNamespace
) -> None:
    client = await connect("/ws/alerts", subprotocols=["ara.v1", f"ara.token.{people.token}"])
    assert client.subprotocol == "ara.v1"


@pytest.mark.parametrize(
    "credential", ["expired", "forged", "revoked", "rubbish", "ara_x.y", "a.b.c"]
)
async def test_a_bad_credential_is_told_and_closed(
    open_socket: Open, people: SimpleNamespace, credential: str
) -> None:
    secret = getattr(people, credential, credential)
    client = await open_socket(f"/ws/market-data/AAPL?token={secret}")
    assert await client.closed() == 4401
    (error,) = client.seen
    assert (error["type"], error["code"]) == ("error", "invalid_token")
    assert secret not in error["message"]


async def test_a_key_without_the_scope_is_forbidden(
    open_socket: Open, transactional_db: None
) -> None:
    _, raw = await sync_to_async(personas.bob_key)(scopes=["alerts"])
    client = await open_socket(f"/ws/market-data/AAPL?token={raw}")
    assert await client.closed() == 4403
    assert [m["code"] for m in client.seen] == ["forbidden"]


async def test_a_symbol_outside_of_a_keys_scope_changes_nothing(
    connect: Open, transactional_db: None
) -> None:
    _, raw = await sync_to_async(personas.bob_key)(symbols={"market-data": ["BTC*"]})
    client = await connect(f"/ws/market-data/BTC-USD?token={raw}")
    for symbols in (["AAPL"], ["*"], ["BTC-EUR", "AAPL"]):
        answer = await client.ask("subscribe", symbols=symbols)
        assert (answer["type"], answer["code"]) == ("error", "forbidden")
    assert (await client.ask("status"))["symbols"] == ["BTC-USD"]


async def test_a_key_that_is_revoked_closes_its_sockets_within_a_second(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    client = await connect(f"/ws/market-data/AAPL?token={people.key}")
    await sync_to_async(people.key_row.revoke)()
    await sync_to_async(key_changed)(people.key_row)
    async with asyncio.timeout(scaled(1)):
        assert await client.closed() == 4401


async def test_the_anonymous_are_asked_for_a_credential(
    open_socket: Open, settings: Any, people: SimpleNamespace
) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = False
    client = await open_socket("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", symbol="MSFT")
    assert answer["code"] == "auth_required"
    await client.send("auth", token=people.token, id=7)
    first, second = await client.next(), await client.next()
    kinds = {m["type"]: m for m in (first, second)}
    assert kinds["authenticated"]["id"] == 7
    assert kinds["connected"]["authenticated"] is True
    assert kinds["connected"]["symbols"] == ["AAPL"]
    await publish("AAPL", 1)
    assert price(await client.until("market_data_update")) == 1


async def test_nothing_is_delivered_before_the_credential(
    open_socket: Open, settings: Any, people: SimpleNamespace
) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = False
    client = await open_socket("/ws/market-data/AAPL")
    await publish("AAPL", 1)
    await client.ask("subscribe", symbol="AAPL")
    assert [m["type"] for m in client.seen] == ["error"]
    await client.ask("auth", token=people.token)
    await publish("AAPL", 2)
    await client.until("market_data_update", data={"price": 2})
    (connected,) = client.of_type("connected")
    assert client.seen.index(connected) < client.seen.index(client.of_type("market_data_update")[0])


async def test_the_anonymous_who_send_no_credential_in_time_are_closed(
    open_socket: Open, settings: Any
) -> None:
    assert conf.REALTIME_AUTH_TIMEOUT == 10
    settings.REALTIME_ALLOW_ANONYMOUS = False
    settings.REALTIME_AUTH_TIMEOUT = 0.1
    client = await open_socket("/ws/market-data/AAPL")
    assert await client.closed() == 4401
    assert "auth_required" in [m.get("code") for m in client.seen]
    assert not client.of_type("connected")


async def test_a_credential_in_time_stops_the_clock(
    open_socket: Open, settings: Any, people: SimpleNamespace
) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = False
    settings.REALTIME_AUTH_TIMEOUT = 1.0
    settings.REALTIME_HEARTBEAT_INTERVAL = 0.6
    client = await open_socket("/ws/market-data/AAPL")
    await client.ask("auth", token=people.key)
    for _ in range(2):  # the second one comes after the time is over
        await client.until("ping")
        await client.send("pong")
    await client.assert_alive()


@pytest.mark.parametrize("anonymous", [True, False])
async def test_a_bad_credential_in_a_message_is_told_and_closed(
    open_socket: Open, settings: Any, people: SimpleNamespace, anonymous: bool
) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = anonymous
    client = await open_socket("/ws/market-data/AAPL")
    await client.send("auth", token=people.revoked, id="a")
    assert await client.closed() == 4401
    assert client.seen[-1]["code"] == "invalid_token"
    assert client.seen[-1]["id"] == "a"


async def test_an_anonymous_socket_can_become_alices(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    client = await connect("/ws/alerts")
    answer = await client.ask("auth", token=people.token)
    assert answer["type"] == "authenticated"
    assert (await client.ask("status"))["credential"]["kind"] == "jwt"
    await publish_alert({"message": "for Alice"}, user_id=people.alice.pk)
    assert (await client.until("alert"))["audience"] == "user"


async def test_a_socket_does_not_change_hands(connect: Open, people: SimpleNamespace) -> None:
    client = await connect("/ws/alerts", headers=bearer(people.token))
    answer = await client.ask("auth", token=people.key)
    assert (answer["type"], answer["code"]) == ("error", "forbidden")
    assert (await client.ask("status"))["credential"]["kind"] == "jwt"


def short_token(user: Any, seconds: float) -> str:
    token = AccessToken.for_user(user)
    token.set_exp(lifetime=dt.timedelta(seconds=seconds))
    return str(token)


async def test_an_expired_token_is_told_and_can_be_renewed(
    connect: Open, people: SimpleNamespace
) -> None:
    client = await connect("/ws/alerts", headers=bearer(short_token(people.alice, 2)))
    expiring = await client.until("token_expiring")
    answer = await client.ask("auth", token=people.token)
    assert answer["type"] == "authenticated"
    assert answer["expires_at"] > expiring["expires_at"]
    await client.assert_alive()


async def test_an_expired_token_that_is_not_renewed_closes_the_socket(
    connect: Open, people: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert credential.EXPIRY_GRACE == 25
    monkeypatch.setattr(credential, "EXPIRY_GRACE", 0.1)
    client = await connect("/ws/alerts", headers=bearer(short_token(people.alice, 2)))
    assert await client.closed() == 4401
    assert [m["type"] for m in client.seen] == ["connected", "token_expiring", "error"]
    assert client.seen[-1]["code"] == "invalid_token"


@pytest.fixture
def _redis_is_away(settings: Any) -> None:
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}


@pytest.mark.usefixtures("_redis_is_away")
async def test_a_ticket_that_nobody_can_look_up_may_be_tried_again(open_socket: Open) -> None:
    client = await open_socket("/ws/market-data/AAPL?ticket=arat_x")
    assert await client.closed() == 4500
    (error,) = client.seen
    assert (error["code"], error["retry"]) == ("internal_error", True)


@pytest.mark.usefixtures("_redis_is_away")
async def test_the_same_in_a_message(open_socket: Open, settings: Any) -> None:
    settings.REALTIME_ALLOW_ANONYMOUS = False
    client = await open_socket("/ws/market-data/AAPL")
    await client.send("auth", token="arat_x", id=1)
    assert await client.closed() == 4500
    assert (client.seen[-1]["code"], client.seen[-1]["retry"]) == ("internal_error", True)


async def test_the_connection_limit_of_a_key_holds_for_auth_too(
    each_layer: str, connect: Open, transactional_db: None
) -> None:
    _, raw = await sync_to_async(personas.bob_key)(max_connections=1)
    one = await connect("/ws/market-data/AAPL")
    two = await connect("/ws/market-data/AAPL")
    assert (await one.ask("auth", token=raw))["type"] == "authenticated"
    assert (await one.ask("auth", token=raw))["type"] == "authenticated"
    await two.send("auth", token=raw)
    assert await two.closed() == 4429
    assert two.seen[-1]["code"] == "connection_limit"
    await one.leave()

    async def authenticated() -> bool:
        three = await connect("/ws/market-data/AAPL")
        await three.send("auth", token=raw)
        return (await three.next())["type"] == "authenticated"

    assert await wait_for(authenticated)


async def test_the_origins_of_a_key_hold_for_auth_too(
    connect: Open, transactional_db: None
) -> None:
    _, raw = await sync_to_async(personas.bob_key)(allowed_origins=["https://a.example"])
    client = await connect("/ws/alerts", headers=[(b"origin", b"http://localhost")])
    await client.send("auth", token=raw)
    assert await client.closed() == 4403


async def test_auth_with_a_narrower_key_ends_what_it_does_not_allow(
    connect: Open, transactional_db: None
) -> None:
    _, raw = await sync_to_async(personas.bob_key)(symbols={"market-data": ["BTC*"]})
    client = await connect("/ws/market-data/AAPL")
    assert (await client.ask("auth", token=raw))["type"] == "authenticated"
    error = await client.until("error")
    assert (error["code"], error["details"]["symbols"]) == ("forbidden", {"AAPL": "forbidden"})
    assert (await client.ask("status"))["symbols"] == []
