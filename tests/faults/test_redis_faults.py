"""What happens to clients, servers and publishers while Redis is away, slow, or empty."""

import asyncio
import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from realtime.broadcast import PublishFailed, abroadcast_many, market_data_update
from realtime.streams import Stream
from tests.conftest import REDIS
from tests.follower import Follower
from tests.patience import PATIENCE
from tests.processes import LiveServer, Valkey

SYMBOLS = ["AAPL", "BTC/USD", "^GSPC"]
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
counter = itertools.count(1)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey that keeps its data over a restart, for this test alone."""
    with Valkey(tmp_path / "redis", tcp=True, arguments=DURABLE) as server:
        yield server


@pytest.fixture
def publish(redis: Valkey, settings: Any) -> Callable[[int], Any]:
    """`await publish(n)`: n updates of each symbol, with a consecutive number in them."""
    layers = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [redis.url]}}}

    async def run(count: int) -> None:
        with override_settings(CHANNEL_LAYERS=layers):
            for _ in range(count):
                number = next(counter)
                await abroadcast_many(
                    [market_data_update(symbol, {"price": number}) for symbol in SYMBOLS]
                )

    return run


@pytest.fixture
def web(start_server: Callable[..., LiveServer], redis: Valkey) -> LiveServer:
    return start_server("uvicorn", REDIS_URL=redis.url, REALTIME_HEARTBEAT_INTERVAL="1")


async def until_published(publish: Callable[[int], Any]) -> None:
    """Publish once, as soon as Redis takes it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await publish(1)
            except PublishFailed:
                await asyncio.sleep(0.05)


async def test_killed_and_restarted_with_its_data(
    web: LiveServer, redis: Valkey, publish: Callable[[int], Any]
) -> None:
    async with Follower([web.ws], SYMBOLS) as client:
        await publish(20)
        await client.until_offset(20)
        redis.kill()
        await client.until(lambda: len({s["symbol"] for s in client.states}) == len(SYMBOLS))
        assert {s["state"] for s in client.states} == {"stale"}
        with pytest.raises(PublishFailed):
            await publish(1)
        redis.start()
        await until_published(publish)
        await publish(20)
        await client.until_offset(41)
        await client.until(lambda: client.states[-1]["state"] == "fresh")
        client.checker.assert_complete()
        assert client.connected == 1, "the socket stayed open"
        assert not client.checker.told_lost


async def test_restarted_without_its_data(
    web: LiveServer, redis: Valkey, publish: Callable[[int], Any]
) -> None:
    async with Follower([web.ws], SYMBOLS) as client:
        await publish(20)
        await client.until_offset(20)
        before = dict(client.checker.epoch)
        redis.kill()
        for file in redis.directory.glob("appendonlydir/*"):
            file.unlink()
        redis.start()
        await until_published(publish)
        await publish(9)
        await client.until(
            lambda: all(client.checker.epoch[name] != before[name] for name in SYMBOLS)
        )
        await client.until_offset(10)
        client.checker.assert_complete()
        assert client.checker.received("AAPL") == list(range(1, 11))
        assert client.connected == 1


def published_offset(redis: Valkey, symbol: str) -> int:
    client: Any = redis.client()
    group = Stream("market-data", symbol).group
    return int(client.hget(f"asgi:stream:{group}:meta", "o"))


async def test_restarted_with_older_data(
    web: LiveServer, redis: Valkey, publish: Callable[[int], Any]
) -> None:
    async with Follower([web.ws], SYMBOLS) as client:
        await publish(5)
        await client.until_offset(5)
        redis.client().bgrewriteaof()
        old = {file: file.read_bytes() for file in redis.directory.glob("appendonlydir/*")}
        await publish(10)
        await client.until_offset(15)
        before = dict(client.checker.epoch)
        redis.kill()
        for file in redis.directory.glob("appendonlydir/*"):
            file.unlink()
        for file, content in old.items():
            file.write_bytes(content)
        redis.start()
        # As many as it went back, so that the numbers alone look right.
        await until_published(publish)
        await publish(9)
        await client.until(
            lambda: all(client.checker.epoch[name] != before[name] for name in SYMBOLS)
        )
        await publish(5)
        # Each stream started over when its own tail was compared: the numbers may differ.
        heads = {name: published_offset(redis, name) for name in SYMBOLS}
        await client.until(
            lambda: all(client.checker.offset[name] == heads[name] for name in SYMBOLS)
        )
        client.checker.assert_complete()


@pytest.mark.slow
async def test_paused_for_ten_seconds(
    web: LiveServer, redis: Valkey, publish: Callable[[int], Any]
) -> None:
    async with Follower([web.ws], SYMBOLS) as client:
        await publish(10)
        await client.until_offset(10)
        redis.signal(signal.SIGSTOP)
        with pytest.raises(PublishFailed):
            await publish(1)
        await client.until(lambda: bool(client.states))
        assert client.states[0]["state"] == "stale"
        # What is tested is the length of the pause.
        await asyncio.sleep(5)
        redis.signal(signal.SIGCONT)
        await until_published(publish)
        await publish(10)
        await client.until_offset(21)
        client.checker.assert_complete()
        assert client.connected == 1


async def test_its_connections_cut_one_by_one(
    web: LiveServer, redis: Valkey, publish: Callable[[int], Any]
) -> None:
    async with Follower([web.ws], SYMBOLS) as client:
        await publish(5)
        control = redis.client()
        for _ in range(3):
            for connection in control.client_list():
                if connection["cmd"] != "client|list":
                    control.client_kill_filter(_id=connection["id"])
                await until_published(publish)
        await publish(5)
        head = int(control.hget("asgi:stream:market-data.AAPL:meta", "o"))
        await client.until_offset(head)
        client.checker.assert_complete()
        assert not client.checker.told_lost


async def test_a_history_that_is_gone_is_named(
    web: LiveServer, redis: Valkey, publish: Callable[[int], Any]
) -> None:
    async with Follower([web.ws], SYMBOLS) as client:
        await publish(5)
        await client.until_offset(5)
        control = redis.client()
        # Nothing is heard of the next ones, and the history loses the first of them.
        web.process.send_signal(signal.SIGSTOP)
        control.client_kill_filter(_type="pubsub")
        await publish(10)
        control.xtrim("asgi:stream:market-data.AAPL:history", maxlen=4, approximate=False)
        web.process.send_signal(signal.SIGCONT)
        await client.until_offset(15)
        client.checker.assert_complete()
        lost = {offset for name, _, offset in client.checker.told_lost if name == "AAPL"}
        assert lost == set(range(6, 12))
        assert client.checker.received("BTC/USD") == list(range(1, 16))


async def test_a_server_that_starts_while_redis_is_away(
    start_server: Callable[..., LiveServer], redis: Valkey, publish: Callable[[int], Any]
) -> None:
    redis.kill()
    web = start_server("uvicorn", REDIS_URL=redis.url, REALTIME_HEARTBEAT_INTERVAL="1")
    client = Follower([web.ws], SYMBOLS)
    task = asyncio.create_task(client.__aenter__())
    try:
        await asyncio.sleep(1.5)  # longer than a join waits
        redis.start()
        await task
        await publish(5)
        await client.until_offset(5)
        client.checker.assert_complete()
        assert client.connected == 1
    finally:
        await client.__aexit__()
