"""A client that sends more than it may slows down itself and nobody else."""

from typing import Any

import pytest

from tests.clients import Open


@pytest.fixture
def one_at_once(settings: Any) -> Any:
    settings.REALTIME_MESSAGES_BURST = 1
    return settings


async def test_a_flood_is_read_no_faster_than_it_may_come(connect: Open, one_at_once: Any) -> None:
    one_at_once.REALTIME_MESSAGES_PER_SECOND = 20
    client = await connect("/ws/market-data/AAPL")
    for id in range(5):
        await client.send("status", id=id)
    kinds = [(await client.next())["type"] for _ in range(5)]
    # After each refusal nothing was read until the next one was due.
    assert kinds == ["status", "error", "status", "error", "status"]


async def test_a_pong_that_nobody_asked_for_is_counted(connect: Open, one_at_once: Any) -> None:
    client = await connect("/ws/market-data/AAPL")
    for _ in range(2):
        await client.send("pong")
    assert (await client.next())["code"] == "rate_limited"


async def test_the_answer_to_a_ping_is_free(connect: Open, one_at_once: Any) -> None:
    one_at_once.REALTIME_HEARTBEAT_INTERVAL = 0.2
    client = await connect("/ws/market-data/AAPL")
    await client.until("ping")
    await client.send("status")
    await client.send("pong")
    await client.send("status", id=2)
    assert (await client.until("error"))["id"] == 2


@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
async def test_a_change_counts_by_its_symbols(connect: Open, settings: Any, kind: str) -> None:
    settings.REALTIME_MESSAGES_BURST = 10
    settings.REALTIME_MESSAGES_PER_SECOND = 0.1
    client = await connect("/ws/market-data")
    symbols = [f"S{number}" for number in range(60)]
    await client.ask("subscribe", symbols=symbols)
    assert (await client.ask(kind, symbols=symbols))["code"] == "rate_limited"
    assert (await client.ask("status"))["limits"]["messages"]["left"] == 2
