"""A task that is cancelled while redis-py works for it ends, whichever turn of the loop it is."""

import asyncio

import pytest

from realtime.delivery.follow import subscribe
from tests.delivery.exchange import Make, publish
from tests.delivery.updates import AAPL, EVERY
from tests.patience import PATIENCE
from tests.turns import turns_that_lose_a_cancellation


async def test_a_reader_is_cancelled_at_any_turn(redis_layer: None) -> None:
    async def read() -> None:
        async for _ in subscribe([EVERY], {}):
            pass

    assert await turns_that_lose_a_cancellation(read, 100) == []


async def test_a_publisher_is_cancelled_at_any_turn(make: Make) -> None:
    layer = make()

    async def publish_on() -> None:
        while True:
            await publish(layer, AAPL, 1)

    assert await turns_that_lose_a_cancellation(publish_on, 60) == []


async def test_the_answer_to_a_cancelled_command_goes_to_nobody_else(make: Make) -> None:
    redis = make().loop_layer.links[0].redis
    for turn in range(30):
        asking = asyncio.create_task(redis.echo(f"first {turn}"))
        for _ in range(turn):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert await redis.echo(f"second {turn}") == f"second {turn}".encode()


async def test_a_limit_of_time_ends_a_command_at_any_turn(make: Make) -> None:
    redis = make().loop_layer.links[0].redis

    async def ping_until_turn(turn: int) -> None:
        async with asyncio.timeout(None) as limit:
            _expire_later(limit, turn)
            while True:
                await redis.ping()

    for turn in range(30):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ping_until_turn(turn), PATIENCE)


def _expire_later(limit: asyncio.Timeout, turns: int) -> None:
    loop = asyncio.get_running_loop()
    if turns:
        loop.call_soon(_expire_later, limit, turns - 1)
    else:
        limit.reschedule(loop.time())
