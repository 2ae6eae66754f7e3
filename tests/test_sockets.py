"""The contract over real sockets, on both servers: what only they can show, the rest in short."""

import asyncio
import contextlib
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.broadcast import (
    abroadcast_many,
    abroadcast_market_data,
    abroadcast_prediction_update,
    alert_update,
    asend_alert,
    market_data_update,
)
from tests.clients import Closed, Socket, narrow_socket
from tests.live import create_people, publish_to
from tests.patience import PATIENCE
from tests.processes import LiveServer
from tests.test_asyncapi import assert_described

Connect = Callable[..., Awaitable[Socket]]

# Autobahn, below daphne, lets an application send no 1009; it has an option to do so by itself.
TOO_BIG = {"uvicorn": 1009, "daphne": 4400}

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def people(server: LiveServer) -> SimpleNamespace:
    return create_people(server)


@pytest.fixture(autouse=True)
def _publishing(server: LiveServer, settings: Any) -> None:
    publish_to(server, settings)


@pytest.fixture
def symbol() -> str:
    """One that no other test has published for: the server lives longer than one test."""
    return f"T{next(_numbers)}"


@pytest.fixture
async def open_socket(server: LiveServer) -> AsyncIterator[Connect]:
    """A function that opens a socket at a path and reads nothing from it yet."""
    sockets: list[Socket] = []

    async def open(path: str, **arguments: Any) -> Socket:
        socket = await Socket.open(server.ws + path, **arguments)
        sockets.append(socket)
        return socket

    yield open
    for socket in sockets:
        await socket.leave()


@pytest.fixture
async def connect(open_socket: Connect) -> Connect:
    """A function that opens a socket and reads its `connected`."""

    async def connect(path: str, **arguments: Any) -> Socket:
        socket = await open_socket(path, **arguments)
        assert (await socket.next())["type"] == "connected"
        return socket

    return connect


# The three endpoints ------------------------------------------------------------------------


async def test_market_data_reaches_a_client(connect: Connect, symbol: str) -> None:
    client = await connect(f"/ws/market-data/{symbol}")
    assert client.seen[0]["heartbeat_interval"] == 30
    await abroadcast_market_data(symbol, {"price": 149.5})
    update = await client.next()
    assert (update["type"], update["symbol"]) == ("market_data_update", symbol)
    assert (update["data"], update["offset"]) == ({"price": 149.5}, 1)


async def test_predictions_reach_a_client(connect: Connect, symbol: str) -> None:
    client = await connect(f"/ws/predictions/{symbol}/")
    await abroadcast_prediction_update(symbol, {"predicted_price": 150.25})
    update = await client.next()
    assert (update["type"], update["data"]) == ("prediction_update", {"predicted_price": 150.25})


async def test_alerts_reach_a_client(connect: Connect, people: SimpleNamespace) -> None:
    anonymous, alice = (
        await connect("/ws/alerts"),
        await connect(f"/ws/alerts?token={people.token}"),
    )
    await asend_alert({"message": "for Alice"}, user_id=people.alice_id)
    await asend_alert({"message": "for all"})
    assert (await anonymous.next())["data"] == {"message": "for all"}
    assert (await alice.next())["audience"] == "user"
    assert (await alice.next())["audience"] == "all"


async def test_every_frame_is_as_the_asyncapi_document_says(
    connect: Connect, people: SimpleNamespace, symbol: str
) -> None:
    market = await connect("/ws/market-data")
    await market.ask("subscribe", symbols=["*"])
    await abroadcast_market_data(symbol, {"price": 1.0})
    await market.until("market_data_update", symbol=symbol)
    predictions = await connect(f"/ws/predictions/{symbol}?epoch=e&offset=7")
    await abroadcast_prediction_update(symbol, {"predicted_price": 1.0})
    for kind, fields in (("request_prediction", {}), ("auth", {"token": people.key})):
        await predictions.ask(kind, **fields)
    alerts = await connect(f"/ws/alerts?token={people.token}")
    await asend_alert({"message": "x", "severity": "high"}, user_id=people.alice_id)
    told = await alerts.until("alert", audience="user")
    rule = {"symbols": [symbol], "conditions": [{"type": "above", "value": 1}]}
    await alerts.ask("configure_alerts", config={"rules": [rule], "dry_run": True})
    await alerts.ask("ack", ids=[told["id"]])
    for client in (market, predictions, alerts):
        await client.ask("status")
        await client.ask("subscribe", symbols=["$"])
        for message in client.seen:
            assert_described(message)
    kinds = {message["type"] for client in (market, predictions, alerts) for message in client.seen}
    assert len(kinds) >= 11


async def test_subscriptions_change(connect: Connect, symbol: str) -> None:
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbol=symbol)
    assert answer["symbols"] == [symbol]
    answer = await client.ask("subscribe", symbols=[f"{symbol}.A", f"{symbol}.B"])
    assert answer["symbols"] == [symbol, f"{symbol}.A", f"{symbol}.B"]
    answer = await client.ask("unsubscribe", symbols=[symbol, f"{symbol}.A"])
    assert answer["symbol"] == f"{symbol}.B"
    await abroadcast_market_data(symbol, {"price": 1})
    await abroadcast_market_data(f"{symbol}.B", {"price": 2})
    assert (await client.next())["symbol"] == f"{symbol}.B"


async def test_a_prediction_is_made_on_request(connect: Connect, symbol: str) -> None:
    await abroadcast_many([market_data_update(symbol, {"price": 90 + n % 9}) for n in range(60)])
    client = await connect(f"/ws/predictions/{symbol}")
    answer = await client.ask("request_prediction")
    assert (answer["type"], answer["status"]) == ("prediction_requested", "processing")
    prediction = await client.until("prediction_update")
    assert prediction["request_id"] == answer["request_id"]


@pytest.mark.parametrize(
    ("path", "symbol"),
    [
        ("/ws/market-data/BTC%2FUSD", "BTC/USD"),
        ("/ws/market-data/%5EGSPC", "^GSPC"),
        ("/ws/predictions/EURUSD%3DX", "EURUSD=X"),
        ("/ws/predictions/EURUSD=X/", "EURUSD=X"),
        ("/ws/predictions/brk.b", "BRK.B"),
        ("/ws/market-data/btc%2fusd/", "BTC/USD"),
        ("/ws/market-data/btc%2F", "BTC/"),
        ("/ws/predictions/BTC%2f/", "BTC/"),
    ],
)
async def test_a_symbol_in_the_url_may_be_percent_encoded(
    connect: Connect, path: str, symbol: str
) -> None:
    assert (await connect(path)).seen[0]["symbol"] == symbol


# Frames -------------------------------------------------------------------------------------


async def test_a_binary_frame_is_answered_and_the_connection_lives_on(connect: Connect) -> None:
    client = await connect("/ws/alerts")
    for frame in (b'{"type": "pong"}', b"\xff\x00", b""):
        await client.send_frame(frame)
        assert (await client.next())["type"] == "error"
    await client.assert_quiet()


async def test_invalid_json_is_answered_and_the_connection_lives_on(connect: Connect) -> None:
    client = await connect("/ws/alerts")
    for frame in ("", "{", "nothing", "\x00"):
        await client.send_frame(frame)
        assert (await client.next())["code"] == "invalid_json"
    await client.assert_quiet()


async def test_invalid_utf8_is_answered_and_the_connection_lives_on(
    connect: Connect, server: LiveServer
) -> None:
    client = await connect("/ws/alerts")
    await client.connection.send(b'{"type": "\xff"}', text=True)
    if server.kind == "daphne":  # autobahn drops the connection before anybody sees the frame
        assert await client.closed() == 1006
        return
    assert "UTF-8" in (await client.next())["message"]
    await client.assert_quiet()


@pytest.mark.parametrize("frame", ["a text", b"bytes"], ids=["text", "binary"])
async def test_a_message_over_64_kib_closes_the_socket(
    connect: Connect, server: LiveServer, frame: str | bytes
) -> None:
    client = await connect("/ws/alerts")
    await client.send_frame(frame[:1] * (65536 + 1))
    assert await client.closed() == TOO_BIG[server.kind]


async def test_a_message_is_measured_in_bytes(connect: Connect, server: LiveServer) -> None:
    client = await connect("/ws/alerts")
    await client.send_frame(json.dumps({"type": "ä" * 33_000}, ensure_ascii=False))
    assert await client.closed() == TOO_BIG[server.kind]


async def test_a_message_of_64_kib_is_read(connect: Connect) -> None:
    client = await connect("/ws/alerts")
    await client.send_frame('{"type": "status", "id": 1}'.ljust(65536))
    assert (await client.next())["type"] == "status"


async def test_a_message_may_come_in_fragments(connect: Connect) -> None:
    client = await connect("/ws/alerts")
    await client.connection.send(['{"type": "sta', "", 'tus", "id"', ": 7}"])
    answer = await client.next()
    assert (answer["type"], answer["id"]) == ("status", 7)


async def test_fragments_may_split_a_character(connect: Connect) -> None:
    client = await connect("/ws/alerts")
    text = '{"type": "status", "id": "ä"}'.encode()
    middle = text.index("ä".encode()) + 1
    await client.connection.send([text[:middle], text[middle:]], text=True)
    assert (await client.next())["id"] == "ä"


async def test_fragments_over_64_kib_close_the_socket(connect: Connect, server: LiveServer) -> None:
    client = await connect("/ws/alerts")
    await client.connection.send([" " * 10_000] * 7)
    assert await client.closed() == TOO_BIG[server.kind]


async def test_many_messages_at_once_are_answered_in_order(connect: Connect) -> None:
    client = await connect("/ws/alerts")
    for id in range(200):
        await client.send("status", id=id)
    assert [(await client.next())["id"] for _ in range(200)] == list(range(200))


# Close codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/ws/trades", "/", "/ws/alerts/x", "/ws/market-data/A%20B", "/ws/predictions/.A"]
)
async def test_an_unknown_path_or_symbol_is_seen_as_4404(open_socket: Connect, path: str) -> None:
    client = await open_socket(path)
    assert await client.closed() == 4404
    assert not client.of_type("connected")


@pytest.mark.parametrize("credential", ["revoked", "expired", "forged", "YOUR_TOKEN"])
async def test_a_bad_credential_is_seen_as_4401(
    open_socket: Connect, people: SimpleNamespace, credential: str
) -> None:
    client = await open_socket(f"/ws/alerts?token={getattr(people, credential, credential)}")
    assert await client.closed() == 4401
    assert [m.get("code") for m in client.seen] == ["invalid_token"]


async def test_a_missing_scope_is_seen_as_4403(
    open_socket: Connect, people: SimpleNamespace
) -> None:
    client = await open_socket(f"/ws/market-data/AAPL?token={people.alerts_only}")
    assert await client.closed() == 4403
    assert [m.get("code") for m in client.seen] == ["forbidden"]


async def test_an_origin_that_is_not_allowed_is_seen_as_4403(open_socket: Connect) -> None:
    client = await open_socket("/ws/alerts", origin="https://evil.example")
    assert await client.closed() == 4403
    assert not client.of_type("connected")


async def test_a_page_of_the_server_itself_may_connect(
    connect: Connect, server: LiveServer
) -> None:
    await connect("/ws/alerts", origin=f"http://localhost:{server.port}")
    await connect("/ws/alerts", origin=server.http)


async def test_too_many_invalid_messages_are_seen_as_4400(connect: Connect) -> None:
    client = await connect("/ws/alerts")
    for _ in range(20):
        await client.send_frame("no")
    assert await client.closed() == 4400


async def test_a_reader_too_slow_for_its_alerts_is_seen_as_4508(
    connect: Connect, people: SimpleNamespace, server: LiveServer
) -> None:
    path = f"/ws/alerts?token={people.token}"
    client = await connect(path, sock=await narrow_socket(server.ws), compression=None)
    client.connection.transport.pause_reading()
    fast = await connect(path, compression=None)
    position = client.seen[0]["streams"]["user"]["offset"]
    # Alerts are never folded. Some megabytes lie in the kernel, one in the outbox: no batch that
    # the other client reads before the next one fills its outbox.
    for last in range(position + 5, position + 305, 5):
        await abroadcast_many(
            [alert_update({"message": "x" * 60_000}, people.alice_id) for _ in range(5)]
        )
        await fast.until("alert", offset=last)
    client.connection.transport.resume_reading()
    if server.kind == "daphne":  # its write buffer has no limit: it takes whatever it is given
        await client.until("alert", offset=position + 300)
        return
    assert await client.closed() == 4508
    *received, error = client.seen[1:]
    assert (error["code"], error["retry"]) == ("slow_consumer", True)
    offsets = [message["offset"] for message in received]
    assert offsets == list(range(position + 1, position + 1 + len(offsets)))


async def test_a_client_that_leaves_is_answered_with_its_own_code(
    connect: Connect, server: LiveServer
) -> None:
    client = await connect("/ws/alerts")
    await client.connection.close(1000)
    assert client.connection.close_code == 1000


# Credentials --------------------------------------------------------------------------------


def places(secret: str) -> dict[str, dict[str, Any]]:
    """Each place of a credential, as arguments of connect."""
    scheme = "Api-Key" if secret.startswith("ara_") else "Bearer"
    found: dict[str, dict[str, Any]] = {
        "authorization": {"headers": {"Authorization": f"{scheme} {secret}"}},
        "subprotocol": {"subprotocols": ["ara.v1", f"ara.token.{secret}"]},
        "query": {"query": f"?token={secret}"},
    }
    if scheme == "Api-Key":
        found["x-api-key"] = {"headers": {"X-API-Key": secret}}
    return found


async def at(open: Connect, query: str = "", **arguments: Any) -> Socket:
    return await open(f"/ws/alerts{query}", **arguments)


@pytest.mark.parametrize("credential", ["token", "key"])
async def test_a_credential_is_found_in_every_place(
    connect: Connect, people: SimpleNamespace, credential: str
) -> None:
    for place, arguments in places(getattr(people, credential)).items():
        client = await at(connect, **arguments)
        assert client.seen[0]["authenticated"] is True, place
        selected = "ara.v1" if place == "subprotocol" else None
        assert client.connection.subprotocol == selected


@pytest.mark.parametrize("credential", ["expired", "revoked"])
async def test_a_bad_credential_is_refused_in_every_place(
    open_socket: Connect, people: SimpleNamespace, credential: str
) -> None:
    for place, arguments in places(getattr(people, credential)).items():
        client = await at(open_socket, **arguments)
        assert await client.closed() == 4401, place


async def test_a_header_comes_before_the_query(connect: Connect, people: SimpleNamespace) -> None:
    headers = {"Authorization": f"Bearer {people.token}"}
    client = await connect(f"/ws/alerts?token={people.revoked}", headers=headers)
    assert (await client.ask("status"))["credential"]["kind"] == "jwt"


async def test_a_bad_header_is_not_saved_by_the_query(
    open_socket: Connect, people: SimpleNamespace
) -> None:
    headers = {"Authorization": f"Bearer {people.expired}"}
    client = await open_socket(f"/ws/alerts?token={people.key}", headers=headers)
    assert await client.closed() == 4401


@pytest.mark.parametrize("path", ["/ws/market-data/AAPL", "/ws/nothing", "/ws"])
def test_plain_http_is_told_to_upgrade(server: LiveServer, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(server.http + path, timeout=PATIENCE)
    with refused.value as answer:
        assert (answer.code, answer.headers["Upgrade"]) == (426, "websocket")
        assert b"WebSocket" in answer.read()


async def test_the_subprotocol_alone_is_selected_too(connect: Connect) -> None:
    client = await connect("/ws/alerts", subprotocols=["ara.v1"])
    assert client.connection.subprotocol == "ara.v1"
    assert client.seen[0]["authenticated"] is False


async def test_a_credential_may_come_in_a_message(
    connect: Connect, people: SimpleNamespace
) -> None:
    client = await connect("/ws/alerts")
    assert (await client.ask("auth", token=people.key))["type"] == "authenticated"
    assert (await client.ask("status"))["credential"]["kind"] == "api_key"


async def test_no_token_is_in_the_servers_log(
    open_socket: Connect, people: SimpleNamespace, server: LiveServer
) -> None:
    secrets = [value for value in vars(people).values() if isinstance(value, str)]
    for secret in secrets:
        for arguments in places(secret).values():
            client = await at(open_socket, **arguments)
            await client.next()
        for path in ("/ws/alerts?a=b&TOKEN=", "/ws/x?token=", "/ws/market-data/A%20B?token="):
            client = await open_socket(path + secret)
            await client.next()
        client = await open_socket("/ws/alerts")
        for frame in ('{"type": "auth", "tokens": "%s"}', '{"type": "auth", "token": "%s"'):
            await client.send_frame(frame % secret)
            await client.until("error")
        await client.send("auth", token=secret)
        with contextlib.suppress(Closed):
            await client.until("authenticated")
        await _get(f"{server.http}/api/connections?token={secret}")
    log = server.log
    for secret in secrets:
        assert secret not in log
        assert secret.rsplit(".", 1)[-1] not in log


async def _get(url: str) -> None:
    """Ask for a page, whatever the answer is."""

    def get() -> None:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE).close()
        except urllib.error.HTTPError as error:
            error.close()

    await asyncio.to_thread(get)
