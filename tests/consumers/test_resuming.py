"""What `since` replays, and what it cannot; `max_rate`, which folds."""

from types import SimpleNamespace
from typing import Any

import pytest
from channels.layers import get_channel_layer

from realtime.broadcast import abroadcast_many, market_data_update
from realtime.streams import Stream
from tests.checker import Checker
from tests.clients import Open
from tests.consumers import position_after, price, publish, publish_alert
from tests.wire import Message


async def test_since_replays_what_was_missed_in_order(each_layer: str, connect: Open) -> None:
    since = await position_after(connect, "AAPL", 1, 2)
    await publish("AAPL", 3, 4, 5)
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbol="AAPL", since=since)
    assert answer["streams"]["AAPL"] == {
        "epoch": since["AAPL"]["epoch"],
        "offset": 5,
        "recovered": True,
        "replayed": 3,
    }
    await publish("AAPL", 6)
    updates = [await client.next() for _ in range(4)]
    assert [(price(m), m["offset"]) for m in updates] == [(3, 3), (4, 4), (5, 5), (6, 6)]
    assert not any("snapshot" in m for m in updates)


async def test_since_may_be_in_the_url(each_layer: str, connect: Open) -> None:
    since = await position_after(connect, "AAPL", 1, 2)
    await publish("AAPL", 3)
    position = since["AAPL"]
    query = f"epoch={position['epoch']}&offset={position['offset']}"
    client = await connect(f"/ws/market-data/AAPL?{query}")
    info = client.seen[0]["streams"]["AAPL"]
    assert (info["recovered"], info["replayed"]) == (True, 1)
    assert price(await client.next()) == 3


async def test_a_position_in_the_url_of_alerts_is_one_of_all(
    each_layer: str, connect: Open, people: SimpleNamespace
) -> None:
    since = (await connect("/ws/alerts")).seen[0]["streams"]["all"]
    for n in range(3):
        await publish_alert({"n": n})
    for credential in ("", f"&token={people.token}"):
        client = await connect(f"/ws/alerts?epoch={since['epoch']}&offset=1{credential}")
        assert client.seen[0]["streams"]["all"]["replayed"] == 2
        assert [(await client.next())["offset"] for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("query", ["epoch=e", "epoch=e&offset=-1", "offset=1.5", "epoch=e&offset="])
async def test_half_a_position_in_the_url_is_told_behind_the_snapshot(
    connect: Open, query: str
) -> None:
    await publish("AAPL", 1)
    client = await connect(f"/ws/market-data/AAPL?{query}")
    assert client.seen[0]["streams"]["AAPL"]["recovered"] is False
    assert (await client.next())["snapshot"] is True
    error = await client.next()
    assert (error["code"], error["details"]) == ("invalid_message", {"field": "offset"})


async def test_a_position_in_the_url_needs_a_symbol_there(connect: Open) -> None:
    client = await connect("/ws/market-data?epoch=e&offset=1")
    error = await client.next()
    assert (error["code"], error["details"]) == ("invalid_message", {"field": "offset"})
    assert "since" in error["message"]


async def test_who_missed_nothing_gets_nothing(each_layer: str, connect: Open) -> None:
    since = await position_after(connect, "AAPL", 1, 2)
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbol="AAPL", since=since)
    assert answer["streams"]["AAPL"]["recovered"] is True
    assert answer["streams"]["AAPL"]["replayed"] == 0
    await client.assert_quiet()


async def test_another_epoch_is_not_recovered(each_layer: str, connect: Open) -> None:
    await publish("AAPL", 1, 2)
    await _not_recovered(connect, {"AAPL": {"epoch": "another", "offset": 1}}, 2)


async def test_an_offset_of_the_future_is_not_recovered(each_layer: str, connect: Open) -> None:
    since = await position_after(connect, "AAPL", 1, 2)
    since["AAPL"]["offset"] = 7
    await _not_recovered(connect, since, 2)


async def test_more_than_the_limit_is_not_recovered(
    each_layer: str, connect: Open, settings: Any
) -> None:
    settings.REALTIME_RECOVERY_LIMIT = 2
    since = await position_after(connect, "AAPL", 1)
    await publish("AAPL", 2, 3, 4)
    await _not_recovered(connect, since, 4)


async def test_no_more_is_recovered_than_the_outbox_may_hold(
    each_layer: str, connect: Open, settings: Any
) -> None:
    settings.REALTIME_OUTBOX_BYTES = 5_000
    since = {
        **await position_after(connect, "AAPL", 1),
        **await position_after(connect, "MSFT", 1),
    }
    for symbol in ("AAPL", "MSFT"):
        await publish(symbol, *range(2, 22))  # some 2 kB each
    client = await connect("/ws/market-data")
    infos = (await client.ask("subscribe", symbols=["AAPL", "MSFT"], since=since))["streams"]
    assert [infos[symbol]["recovered"] for symbol in ("AAPL", "MSFT")] == [True, False]
    updates = [await client.next() for _ in range(21)]
    assert [price(m) for m in updates] == [*range(2, 22), 21]
    assert updates[-1]["snapshot"] is True
    # It was not lost: asked for by itself, it comes.
    again = await client.ask("subscribe", symbols=["MSFT"], since={"MSFT": since["MSFT"]})
    assert again["streams"]["MSFT"]["replayed"] == 20


async def _not_recovered(connect: Open, since: dict[str, Any], newest: float) -> None:
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbol="AAPL", since=since)
    assert answer["streams"]["AAPL"]["recovered"] is False
    snapshot = await client.next()
    assert (price(snapshot), snapshot["snapshot"]) == (newest, True)
    await client.assert_quiet()


async def test_each_symbol_resumes_by_itself(each_layer: str, connect: Open) -> None:
    since = {
        **await position_after(connect, "AAPL", 1),
        **await position_after(connect, "MSFT", 1, 2),
        "IBM": {"epoch": "another", "offset": 1},
    }
    await publish("AAPL", 2)
    await publish("IBM", 5)
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbols=["AAPL", "MSFT", "IBM", "GE"], since=since)
    infos = answer["streams"]
    assert [infos[s].get("recovered") for s in ("AAPL", "MSFT", "IBM")] == [True, True, False]
    assert "recovered" not in infos["GE"]
    updates = [await client.next(), await client.next()]
    assert {(m["symbol"], price(m), m.get("snapshot", False)) for m in updates} == {
        ("AAPL", 2, False),
        ("IBM", 5, True),
    }


async def test_since_for_a_symbol_that_is_not_asked_for_is_an_error(connect: Open) -> None:
    client = await connect("/ws/market-data")
    answer = await client.ask(
        "subscribe", symbol="AAPL", since={"MSFT": {"epoch": "e", "offset": 1}}
    )
    assert (answer["type"], answer["code"]) == ("error", "invalid_message")
    assert "since" in answer["message"]
    assert "MSFT" in answer["message"]


async def test_a_live_subscription_can_be_asked_to_replay(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    epoch = client.seen[0]["streams"]["AAPL"]["epoch"]
    await publish("AAPL", 1, 2)
    await client.next()
    await client.next()
    answer = await client.ask(
        "subscribe", symbols=["AAPL"], since={"AAPL": {"epoch": epoch, "offset": 1}}
    )
    assert answer["streams"]["AAPL"]["recovered"] is True
    assert price(await client.next()) == 2
    await publish("AAPL", 3)
    assert price(await client.next()) == 3


async def test_what_the_asterisk_brings_can_be_resumed(each_layer: str, connect: Open) -> None:
    """Its `subscribed` names every stream there is, each with its position."""
    await publish("AAPL", 1)
    client = await connect("/ws/market-data")
    checker = Checker()
    checker.feed(await client.ask("subscribe", symbols=["*"]))
    checker.feed(await client.next())
    await publish("AAPL", 2)
    checker.feed(await client.next())
    await client.leave()
    await publish("AAPL", 3)
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbols=["*"], since=checker.since())
    assert answer["streams"]["AAPL"]["recovered"] is True
    checker.feed(answer)
    checker.feed(await client.next())
    checker.assert_complete()
    assert checker.received("AAPL") == [1, 2, 3]


@pytest.mark.parametrize("max_rate", [None, 1000])
async def test_a_symbol_that_is_new_to_the_asterisk_can_be_resumed(
    each_layer: str, connect: Open, max_rate: float | None
) -> None:
    every = await connect("/ws/market-data")
    await every.ask("subscribe", symbols=["*"], **({"max_rate": max_rate} if max_rate else {}))
    named = await connect("/ws/market-data/AAPL")
    await publish("AAPL", 1)
    checker = Checker()
    checker.feed(await every.next())
    assert checker.epoch["AAPL"] == named.seen[0]["streams"]["AAPL"]["epoch"]
    assert "epoch" not in await named.next()
    await publish("AAPL", 2, 3)
    again = await connect("/ws/market-data")
    checker.feed(await again.ask("subscribe", symbols=["*"], since=checker.since()))
    for _ in range(2):
        checker.feed(await again.next())
    checker.assert_complete()
    assert checker.received("AAPL") == [1, 2, 3]


async def test_only_the_first_update_below_the_asterisk_has_an_epoch(
    each_layer: str, connect: Open
) -> None:
    client = await connect("/ws/market-data")
    await client.ask("subscribe", symbols=["*"])
    await publish("AAPL", 1, 2)
    await publish("MSFT", 3)
    updates = [await client.next() for _ in range(3)]
    assert ["epoch" in update for update in updates] == [True, False, True]
    assert (await client.ask("status"))["streams"]["MSFT"] == {
        "epoch": updates[2]["epoch"],
        "offset": 1,
    }


async def test_max_rate_folds_what_is_too_fast(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data")
    checker = Checker()
    checker.feed(await client.ask("subscribe", symbol="AAPL", max_rate=10))
    await abroadcast_many([market_data_update("AAPL", {"price": n}) for n in range(1, 51)])
    updates: list[Message] = []
    while not updates or price(updates[-1]) < 50:
        updates.append(await client.next())
        checker.feed(updates[-1])
    checker.assert_complete()
    assert len(updates) <= 5
    assert len(updates) + checker.folded == 50


async def test_max_rate_is_counted_per_symbol(each_layer: str, connect: Open) -> None:
    client = await connect("/ws/market-data")
    await client.ask("subscribe", symbols=["AAPL", "MSFT"], max_rate=1)
    await publish("AAPL", 1)
    await publish("MSFT", 2)
    assert [price(await client.next()), price(await client.next())] == [1, 2]


async def test_an_epoch_that_another_one_continues_is_resumed(
    redis_layer: None, connect: Open
) -> None:
    """Redis has come back: the client is told of the new epoch where its own position is."""
    client = await connect("/ws/market-data/AAPL")
    checker = Checker()
    checker.feed(client.seen[0])
    await publish("AAPL", 1, 2)
    for _ in range(2):
        checker.feed(await client.next())
    await client.leave()
    await publish("AAPL", 3)
    layer: Any = get_channel_layer()
    await layer.loop_layer.restart_stream(Stream("market-data", "AAPL"), checker.epoch["AAPL"], 3)
    await publish("AAPL", 4)
    client = await connect("/ws/market-data")
    answer = await client.ask("subscribe", symbols=["AAPL"], since=checker.since())
    assert answer["streams"]["AAPL"]["recovered"] is True
    checker.feed(answer)
    for _ in range(3):
        checker.feed(await client.next())
    gap = client.of_type("gap")[0]
    assert gap["to_offset"] == gap["from_offset"] - 1, "nothing is missing"
    assert gap["epoch"] == checker.epoch["AAPL"] != answer["streams"]["AAPL"]["epoch"]
    assert [price(each) for each in client.of_type("market_data_update")] == [3, 4]
    checker.assert_complete()
    assert not checker.told_lost
