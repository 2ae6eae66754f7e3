"""Updates and snapshots, and what `subscribe` and `unsubscribe` change."""

import json
from typing import Any

import pytest

from realtime.broadcast import abroadcast_market_data, abroadcast_prediction_update
from tests.clients import Open
from tests.consumers import price, publish


async def test_an_update_comes_as_it_was_published(each_layer: str, connect: Open) -> None:
    market_data = await connect("/ws/market-data/AAPL")
    predictions = await connect("/ws/predictions/AAPL")
    data = {"price": 149.5, "volume": 1000000, "timestamp": "2024-01-01T12:00:00Z", "ü": [None]}
    await abroadcast_market_data("aapl", data)
    await abroadcast_prediction_update("AAPL", {"predicted_price": 150.25})
    update = await market_data.next()
    assert update["type"] == "market_data_update"
    assert (update["symbol"], update["data"], update["offset"]) == ("AAPL", data, 1)
    update = await predictions.next()
    assert update["type"] == "prediction_update"
    assert (update["data"], update["offset"]) == ({"predicted_price": 150.25}, 1)


async def test_the_newest_update_comes_first_as_a_snapshot(each_layer: str, connect: Open) -> None:
    await publish("AAPL", 1, 2, 3)
    client = await connect("/ws/market-data/AAPL")
    assert client.seen[0]["streams"]["AAPL"]["offset"] == 3
    snapshot = await client.next()
    assert price(snapshot) == 3
    assert snapshot["snapshot"] is True
    assert snapshot["offset"] == 3
    await publish("AAPL", 4)
    update = await client.next()
    assert price(update) == 4
    assert update["offset"] == 4
    assert "snapshot" not in update


async def test_one_symbol_does_not_bring_another(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    await publish("MSFT", 1)
    await publish("AAPL", 2)
    assert price(await client.next()) == 2


async def test_one_channel_does_not_bring_another(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/predictions/AAPL")
    await publish("AAPL", 1)
    await abroadcast_prediction_update("AAPL", {"predicted_price": 2})
    assert (await client.next())["type"] == "prediction_update"


async def test_symbol_changes_the_subscription(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", symbol="msft")
    assert answer["type"] == "subscribed"
    assert answer["channel"] == "market-data"
    assert (answer["symbol"], answer["symbols"]) == ("MSFT", ["MSFT"])
    assert list(answer["streams"]) == ["MSFT"]
    await publish("AAPL", 1)
    await publish("MSFT", 2)
    update = await client.next()
    assert (update["symbol"], price(update)) == ("MSFT", 2)


async def test_symbols_add_to_the_subscription(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", symbols=["MSFT", "BTC/USD"])
    assert answer["symbols"] == ["AAPL", "MSFT", "BTC/USD"]
    assert "symbol" not in answer
    assert {"MSFT", "BTC/USD"} <= set(answer["streams"])
    for number, symbol in enumerate(["AAPL", "MSFT", "BTC/USD"]):
        await publish(symbol, number)
        update = await client.next()
        assert (update["symbol"], price(update)) == (symbol, number)


async def test_a_subscription_brings_a_snapshot_of_each_symbol(
    each_layer: str, connect: Open
) -> None:
    await publish("AAPL", 1, 2)
    await publish("MSFT", 3)
    client = await connect("/ws/market-data")
    await client.ask("subscribe", symbols=["AAPL", "MSFT", "IBM"])
    snapshots = [await client.next(), await client.next()]
    assert {m["symbol"]: (price(m), m["snapshot"]) for m in snapshots} == {
        "AAPL": (2, True),
        "MSFT": (3, True),
    }
    await client.assert_quiet()


async def test_a_symbol_subscribed_twice_is_held_once(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", symbols=["aapl", "AAPL", "MSFT", "msft"])
    assert answer["symbols"] == ["AAPL", "MSFT"]
    await publish("MSFT", 1)
    await publish("AAPL", 2)
    assert [price(await client.next()), price(await client.next())] == [1, 2]
    await client.assert_quiet()


@pytest.mark.parametrize("fields", [{"symbols": ["MSFT", "A B", ".X"]}, {"symbol": "A B"}])
async def test_a_subscription_that_fails_for_one_symbol_changes_nothing(
    each_layer: str, connect: Open, fields: dict[str, Any]
) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", **fields)
    assert (answer["type"], answer["code"]) == ("error", "invalid_symbol")
    told = answer["message"] + json.dumps(answer["details"])
    assert all(symbol in told for symbol in ("A B", ".X") if symbol in str(fields))
    assert "A-Z 0-9" in told
    assert (await client.ask("status"))["symbols"] == ["AAPL"]
    await publish("MSFT", 1)
    await publish("AAPL", 2)
    assert price(await client.next()) == 2


@pytest.mark.parametrize("fields", [{}, {"max_rate": 5}])
async def test_a_subscription_to_nothing_is_an_error(connect: Open, fields: dict[str, Any]) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", **fields)
    assert (answer["type"], answer["code"]) == ("error", "invalid_message")
    assert "symbol" in answer["message"]


async def test_more_subscriptions_than_allowed_change_nothing(
    each_layer: str, connect: Open, settings: Any
) -> None:
    settings.REALTIME_MAX_SUBSCRIPTIONS = 2
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("subscribe", symbols=["MSFT", "IBM"])
    assert (answer["type"], answer["code"]) == ("error", "subscription_limit")
    assert "2" in answer["message"]
    answer = await client.ask("subscribe", symbols=["MSFT"])
    assert answer["symbols"] == ["AAPL", "MSFT"]
    answer = await client.ask("subscribe", symbol="IBM")
    assert answer["symbols"] == ["IBM"]


async def test_unsubscribe_answers_with_what_is_left(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    await client.ask("subscribe", symbols=["MSFT", "IBM"])
    answer = await client.ask("unsubscribe", symbols=["aapl", "MSFT"])
    assert answer["type"] == "unsubscribed"
    assert (answer["symbol"], answer["symbols"]) == ("IBM", ["IBM"])
    await publish("AAPL", 1)
    await publish("MSFT", 2)
    await publish("IBM", 3)
    assert price(await client.next()) == 3


async def test_unsubscribe_from_everything_leaves_nothing(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("unsubscribe", symbols=["AAPL"])
    assert answer["symbols"] == []
    assert "symbol" not in answer
    await publish("AAPL", 1)
    await client.ask("subscribe", symbol="MSFT")
    await publish("MSFT", 2)
    assert price(await client.next()) == 2


async def test_unsubscribe_from_what_is_not_held_changes_nothing(connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    answer = await client.ask("unsubscribe", symbols=["AAPL", "MSFT"])
    assert (answer["type"], answer["code"]) == ("error", "not_subscribed")
    assert "MSFT" in answer["message"]
    assert (await client.ask("status"))["symbols"] == ["AAPL"]


async def test_the_asterisk_is_every_symbol(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbols=["*"])
    assert answer["symbols"] == ["*"]
    await publish("AAPL", 1)
    await publish("BTC/USD", 2)
    await abroadcast_prediction_update("AAPL", {"predicted_price": 1})
    await publish("AAPL", 3)
    updates = [await client.next() for _ in range(3)]
    assert [(m["symbol"], price(m), m["offset"]) for m in updates] == [
        ("AAPL", 1, 1),
        ("BTC/USD", 2, 1),
        ("AAPL", 3, 2),
    ]


async def test_the_asterisk_beside_a_symbol_brings_each_update_once(
    each_layer: str, connect: Open
) -> None:
    client = await connect("/ws/market-data")
    await client.ask("subscribe", symbols=["*"])
    await client.ask("subscribe", symbols=["AAPL"])
    await publish("AAPL", 1)
    await publish("MSFT", 2)
    updates = [await client.next(), await client.next()]
    assert [price(m) for m in updates] == [1, 2]
    await client.assert_quiet()


async def test_the_asterisk_takes_the_place_of_the_symbols(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    assert (await client.ask("subscribe", symbols=["*"]))["symbols"] == ["*"]
    assert (await client.ask("unsubscribe", symbols=["*"]))["symbols"] == []
    await publish("AAPL", 1)
    await client.ask("subscribe", symbol="MSFT")
    await publish("MSFT", 2)
    assert price(await client.next()) == 2


async def test_the_asterisk_does_not_name_what_nobody_has_published(
    each_layer: str, connect: Open, settings: Any
) -> None:
    settings.REALTIME_HEARTBEAT_INTERVAL = 0.2
    await connect("/ws/market-data/STRANGE1")
    client = await connect("/ws/market-data")
    assert (await client.ask("subscribe", symbols=["*"]))["streams"] == {}
    await connect("/ws/market-data/STRANGE2")
    assert (await client.until("ping"))["heads"] == {}
    assert (await client.ask("status"))["streams"] == {}
