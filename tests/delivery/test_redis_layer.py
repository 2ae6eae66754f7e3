"""What the Redis layer does beyond the specification: processes, event loops, serialisation."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull

from realtime.delivery.layers import RedisStreamLayer, redis_loop
from realtime.protocol import market_data_body
from realtime.streams import Stream
from tests.delivery.exchange import (  # fmt: skip
    HELLO,
    Make,
    commands,
    exchange,
    follow,
    publish,
    pubsub_channels,
    receive,
)
from tests.delivery.memory import Reader
from tests.delivery.updates import AAPL, EVERY
from tests.delivery.waiting import until
from tests.patience import PATIENCE
from tests.processes import Valkey

# Two processes ------------------------------------------------------------------------------------


async def test_two_processes_reach_each_other(make: Make) -> None:
    await exchange(make(), make())


async def test_a_channel_can_be_reached_as_soon_as_it_has_a_name(make: Make) -> None:
    here, there = make(), make()
    channel = await here.new_channel()
    await there.send(channel, HELLO)
    assert await receive(here, channel) == HELLO


async def test_channels_may_have_capacities_of_their_own(make: Make) -> None:
    layer = make(capacity=2, channel_capacity={"tiny*": 1})
    await layer.send("tiny.one", HELLO)
    with pytest.raises(ChannelFull):
        await layer.send("tiny.one", HELLO)
    channel = await layer.new_channel("tiny.")
    await layer.send(channel, HELLO)
    with pytest.raises(ChannelFull):
        await layer.send(channel, HELLO)
    await layer.send("other", HELLO)
    await layer.send("other", HELLO)


async def test_what_another_process_receives_cannot_be_received_here(make: Make) -> None:
    here, there = make(), make()
    channel = await there.new_channel()
    with pytest.raises(RuntimeError, match="belongs to another one"):
        await here.receive(channel)


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
    monkeypatch.setattr(redis_loop, "LINGER", 0.01)
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
    monkeypatch.setattr(redis_loop, "LINGER", 0.01)
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


# Serialisation ------------------------------------------------------------------------------------


async def next_published(valkey: Valkey, send: Callable[[], Any]) -> bytes:
    """What goes over the wire of Redis."""
    with commands(valkey).pubsub() as pubsub:
        pubsub.psubscribe("*")
        pubsub.get_message(timeout=PATIENCE)
        await send()
        while True:
            message = pubsub.get_message(timeout=PATIENCE)
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
        client.publish(layer.loop_layer.names.direct(layer.loop_layer.local.process), junk)
    client.publish(b"asgi__group__market-data.\xff\xfe", b"\xc1e 1 {}")
    client.publish("asgi__group__market-data.aapl", b"\xc1e 1 {}")
    await layer.group_send("group", HELLO)
    assert await receive(layer, channel) == HELLO
    await publish(layer, AAPL, 1)
    await until(lambda: reader.offsets == [1] and every.offsets == [1])
    assert "could not be delivered" in caplog.text
    assert "Redis is away" not in caplog.text


async def test_a_first_reader_of_every_symbol_waits_for_its_turn_at_redis(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """More streams than redis-py opens connections."""
    streams = [Stream("market-data", f"S{number}") for number in range(300)]
    await make().send_updates([(s, market_data_body(s.symbol, {"price": 1})) for s in streams])
    reader = await follow(make(), EVERY)
    assert len(reader.at) == 300
    assert "could not be read" not in caplog.text


@pytest.mark.parametrize("order", [[AAPL, EVERY], [EVERY, AAPL]])
async def test_a_process_that_reads_a_symbol_and_every_symbol_hears_an_update_once(
    make: Make, valkey: Valkey, order: list[Stream]
) -> None:
    layer = make()
    readers = [await follow(layer, stream) for stream in order]
    client: Any = valkey.client()
    channel = "asgi__group__market-data.AAPL"
    await until(lambda: client.pubsub_numsub(channel)[0][1] == 0)
    (published,) = await layer.send_updates([(AAPL, market_data_body("AAPL", {"price": 1}))])
    assert published.receivers == 1
    await until(lambda: all(reader.offsets == [1] for reader in readers))


async def test_an_ordinary_message_is_heard_once_while_a_pattern_takes_over(make: Make) -> None:
    layer, sender = make(), make()
    heard: list[int] = []
    channel = await layer.new_channel()
    layer.attach(channel, lambda message: heard.append(message["n"]))
    await layer.group_add(AAPL.group, channel)
    await layer.prepare(AAPL, {})
    for number in range(200):
        await sender.group_send(AAPL.group, {"type": "note", "n": number})
        if number == 100:
            following = asyncio.create_task(follow(layer, EVERY))
    await following
    await until(lambda: heard[-1:] == [199])
    assert heard == list(range(200))


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
    assert layer.loop_layer.channel_layer is layer
    assert layer.loop_layer is layer._get_layer()
