"""Connecting: paths, symbols in the URL, and the first message."""

from types import SimpleNamespace

import pytest

from tests.clients import Open

ENDPOINTS = {
    "/ws/predictions/AAPL": ("predictions", ["AAPL"]),
    "/ws/market-data/AAPL": ("market-data", ["AAPL"]),
    "/ws/predictions": ("predictions", []),
    "/ws/market-data": ("market-data", []),
}


@pytest.mark.parametrize("path", ENDPOINTS)
async def test_connected_is_the_first_message(each_layer: str, connect: Open, path: str) -> None:
    channel, symbols = ENDPOINTS[path]
    client = await connect(path)
    connected = client.seen[0]
    assert connected["channel"] == channel
    assert connected["symbols"] == symbols
    assert connected.get("symbol") == (symbols[0] if symbols else None)
    assert list(connected["streams"]) == symbols
    assert connected["authenticated"] is False
    assert connected["heartbeat_interval"] == 30
    await client.assert_quiet()


async def test_alerts_have_one_stream_for_everybody(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/alerts")
    assert client.seen[0]["channel"] == "alerts"
    assert list(client.seen[0]["streams"]) == ["all"]


async def test_alerts_have_a_second_stream_for_a_user(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    client = await connect(f"/ws/alerts?token={people.token}")
    assert client.seen[0]["authenticated"] is True
    assert set(client.seen[0]["streams"]) == {"all", "user"}


async def test_two_connections_have_two_ids(connect: Open) -> None:
    one, other = await connect("/ws/alerts"), await connect("/ws/alerts")
    assert one.seen[0]["connection_id"] != other.seen[0]["connection_id"]


@pytest.mark.parametrize("path", [*ENDPOINTS, "/ws/alerts"])
async def test_a_trailing_slash_is_accepted(connect: Open, path: str) -> None:
    client = await connect(f"{path}/")
    assert client.seen[0]["symbols"] == (await connect(path)).seen[0]["symbols"]


@pytest.mark.parametrize(
    ("path", "symbol"),
    [
        ("/ws/market-data/aapl", "AAPL"),
        ("/ws/market-data/BRK.B", "BRK.B"),
        ("/ws/predictions/BTC%2FUSD", "BTC/USD"),
        ("/ws/predictions/%5egspc", "^GSPC"),
        ("/ws/predictions/EURUSD=X/", "EURUSD=X"),
        ("/ws/predictions/EURUSD%3DX", "EURUSD=X"),
    ],
)
async def test_a_symbol_in_the_url_is_decoded_and_upper_cased(
    connect: Open, path: str, symbol: str
) -> None:
    assert (await connect(path)).seen[0]["symbol"] == symbol


@pytest.mark.parametrize(
    "path",
    [
        "/ws/market-data/A%20B",
        "/ws/market-data/.A",
        "/ws/predictions/" + "A" * 33,
        "/ws/predictions/%C3%84",
        "/ws/predictions/AAPL,MSFT",
        "/ws/predictions/A%0A",
        "/ws/predictions//",
        "/ws/trades/AAPL",
        "/ws/alerts/AAPL",
        "/ws",
        "/",
        "/ws/predictionsx",
    ],
)
async def test_an_unknown_path_or_symbol_is_not_found(open_socket: Open, path: str) -> None:
    client = await open_socket(path)
    assert await client.closed() == 4404
    assert not client.of_type("connected")


@pytest.mark.parametrize("symbol", ["A%20B", "A%0A", "%0A"])
async def test_an_invalid_symbol_in_the_url_is_told_with_the_reason(
    open_socket: Open, symbol: str
) -> None:
    client = await open_socket(f"/ws/market-data/{symbol}")
    await client.closed()
    (error,) = client.seen
    assert error["code"] == "invalid_symbol"
    assert "A-Z 0-9" in error["message"]


async def test_a_url_of_many_fields_is_no_reason_to_fail(connect: Open) -> None:
    await connect("/ws/market-data/AAPL?" + "&".join(f"a{n}={n}" for n in range(100)))
