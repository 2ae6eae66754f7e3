"""`ping`, `pong`, and who does not answer."""

from typing import Any

from tests.clients import Open
from tests.consumers import publish


async def test_a_ping_has_the_head_of_each_stream(
    each_layer: str, connect: Open, settings: Any
) -> None:
    settings.REALTIME_HEARTBEAT_INTERVAL = 0.2
    client = await connect("/ws/market-data/AAPL")
    assert client.seen[0]["heartbeat_interval"] == 0.2
    await client.ask("subscribe", symbols=["MSFT"])
    await publish("AAPL", 1, 2)
    await client.until("market_data_update", offset=2)
    ping = await client.until("ping")
    assert ping["heads"] == {"AAPL": 2, "MSFT": 0}


async def test_who_answers_pings_stays(connect: Open, settings: Any) -> None:
    settings.REALTIME_HEARTBEAT_INTERVAL = 0.1
    client = await connect("/ws/market-data/AAPL")
    for _ in range(6):
        await client.until("ping")
        await client.send("pong")
    status = await client.ask("status")
    assert status["rtt_ms"] is not None
    assert status["rtt_ms"] >= 0


async def test_who_does_not_answer_for_two_intervals_is_closed(
    connect: Open, settings: Any
) -> None:
    settings.REALTIME_HEARTBEAT_INTERVAL = 0.1
    client = await connect("/ws/market-data/AAPL")
    assert await client.closed() == 4504
    assert len(client.of_type("ping")) >= 2


async def test_other_messages_are_no_pong(connect: Open, settings: Any) -> None:
    settings.REALTIME_HEARTBEAT_INTERVAL = 0.1
    client = await connect("/ws/market-data/AAPL")
    for _ in range(2):
        await client.until("ping")
        await client.send("status")
    assert await client.closed() == 4504


async def test_a_ping_of_the_client_is_answered(connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    assert (await client.ask("ping"))["type"] == "pong"
