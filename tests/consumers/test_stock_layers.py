"""Any other channel layer still works, without offsets and resume: those of Channels itself."""

from functools import partial
from typing import Any

import pytest
from channels.layers import get_channel_layer

from realtime.broadcast import abroadcast_market_data, abroadcast_prediction_update, asend_alert
from tests.clients import Open
from tests.processes import Valkey


@pytest.fixture(params=["memory", "pubsub", "core"], autouse=True)
def stock_layer(request: pytest.FixtureRequest, settings: Any, valkey: Valkey) -> str:
    valkey.client().flushall()
    hosts = [{"address": valkey.url}]
    # The core layer's blocking reads outlast redis-py's default timeout of five seconds. With any
    # timeout redis-py sends through asyncio.wait_for, which loses cancellations in Python 3.11.
    patient = [{"address": valkey.url, "socket_timeout": None}]
    settings.CHANNEL_LAYERS = {
        "default": {
            "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
            "pubsub": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": hosts},
            },
            "core": {
                "BACKEND": "channels_redis.core.RedisChannelLayer",
                "CONFIG": {"hosts": patient},
            },
        }[request.param]
    }
    kind: str = request.param
    return kind


@pytest.fixture
def connect(connect: Open) -> Open:
    """Sockets whose updates have no offsets."""
    return partial(connect, numbered=False)


async def test_an_update_comes_as_it_was_published(connect: Open) -> None:
    market_data = await connect("/ws/market-data/AAPL")
    predictions = await connect("/ws/predictions/AAPL")
    await abroadcast_market_data("aapl", {"price": 149.5})
    await abroadcast_prediction_update("AAPL", {"predicted_price": 150.25})
    update = await market_data.next()
    assert (update["type"], update["data"]) == ("market_data_update", {"price": 149.5})
    update = await predictions.next()
    assert (update["type"], update["data"]) == ("prediction_update", {"predicted_price": 150.25})


async def test_symbol_changes_the_subscription(connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", symbol="msft")
    assert (answer["type"], answer["symbols"]) == ("subscribed", ["MSFT"])
    await abroadcast_market_data("AAPL", {"price": 1})
    await abroadcast_market_data("MSFT", {"price": 2})
    assert (await client.next())["symbol"] == "MSFT"


async def test_symbols_add_and_unsubscribe_takes_away(connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", symbols=["MSFT", "BTC/USD"])
    assert answer["symbols"] == ["AAPL", "MSFT", "BTC/USD"]
    await abroadcast_market_data("BTC/USD", {"price": 1})
    assert (await client.next())["symbol"] == "BTC/USD"
    answer = await client.ask("unsubscribe", symbols=["AAPL", "BTC/USD"])
    assert answer["symbols"] == ["MSFT"]
    await abroadcast_market_data("AAPL", {"price": 2})
    await abroadcast_market_data("MSFT", {"price": 3})
    assert (await client.next())["symbol"] == "MSFT"


async def test_the_asterisk_is_every_symbol(connect: Open) -> None:
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbols=["*"])
    assert answer["type"] == "subscribed"
    for symbol in ("AAPL", "BTC/USD"):
        await abroadcast_market_data(symbol, {"price": 1})
        assert (await client.next())["symbol"] == symbol


async def test_a_position_is_never_said_to_be_recovered(connect: Open) -> None:
    client = await connect("/ws/market-data")
    since = {"AAPL": {"epoch": "e", "offset": 1}}
    answer = await client.ask("subscribe", symbol="AAPL", since=since)
    assert "recovered" not in answer.get("streams", {}).get("AAPL", {})
    await client.assert_alive()


async def test_what_the_layer_cannot_do_is_said(connect: Open) -> None:
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbol="AAPL", max_rate=1)
    assert (answer["type"], answer["details"]) == ("error", {"field": "max_rate"})


async def test_an_alert_reaches_everybody(connect: Open) -> None:
    clients = [await connect("/ws/alerts"), await connect("/ws/alerts")]
    await asend_alert({"severity": "high"})
    for client in clients:
        alert = await client.next()
        assert (alert["audience"], alert["data"]) == ("all", {"severity": "high"})


async def test_an_alert_for_another_user_does_not_come(connect: Open) -> None:
    client = await connect("/ws/alerts")
    await asend_alert({"message": "for somebody"}, user_id=7)
    await asend_alert({"message": "for all"})
    assert (await client.next())["data"] == {"message": "for all"}


async def test_bad_input_is_answered_and_the_connection_lives_on(connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    for frame in ("no", "[]", "", b"\xff", '{"type": "x"}'):
        await client.send_frame(frame)
        assert (await client.next())["type"] == "error"
    await client.assert_quiet()


async def test_pings_come_and_pongs_keep_the_socket(connect: Open, settings: Any) -> None:
    settings.REALTIME_HEARTBEAT_INTERVAL = 0.1
    client = await connect("/ws/market-data/AAPL")
    for _ in range(4):
        await client.until("ping")
        await client.send("pong")
    assert await client.closed() == 4504


async def test_who_leaves_is_no_member_of_any_group(
    connect: Open, stock_layer: str, valkey: Valkey
) -> None:
    client = await connect("/ws/market-data/AAPL")
    await client.ask("subscribe", symbols=["MSFT"])
    if members(stock_layer, valkey) == 0:
        pytest.fail("no member to begin with", pytrace=False)
    await client.leave()
    assert members(stock_layer, valkey) == 0


def members(kind: str, valkey: Valkey) -> int:
    """How many memberships of groups there are."""
    client: Any = valkey.client()
    if kind == "memory":
        layer: Any = get_channel_layer()
        return sum(map(len, layer.groups.values()))
    if kind == "pubsub":
        return sum(b"group" in name for name in client.pubsub_channels())
    return sum(client.zcard(key) for key in client.keys("asgi:group:*"))
