"""The channel-layer specification, for both layers; what only Redis does is in test_redis_layer."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer

from realtime.delivery.layers import MemoryStreamLayer, RedisStreamLayer
from realtime.delivery.process_layer import Mailbox
from realtime.streams import Stream
from tests.delivery.waiting import until
from tests.patience import PATIENCE
from tests.processes import Valkey

CAPACITY = 5
HELLO = {"type": "test.message", "text": "Hello"}


@pytest.fixture(params=["memory", "redis"])
async def layer(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "memory":
        memory = MemoryStreamLayer(capacity=CAPACITY)
        yield memory
        await memory.flush()
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    valkey.client().flushall()
    redis = RedisStreamLayer(hosts=[valkey.url], capacity=CAPACITY)
    yield redis
    await redis.flush()


async def receive(layer: Any, channel: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await layer.receive(channel)


def is_empty(layer: Any, channel: str) -> bool:
    local = getattr(layer, "loop_layer", layer).local
    mailbox: Mailbox = local.mailbox(channel)
    return mailbox.queue is None or mailbox.queue.empty()


async def settled(layer: Any) -> None:
    """What was sent before has arrived: a message of ours came the same way behind it."""
    channel = await layer.new_channel()
    await layer.group_add("settled", channel)
    await layer.group_send("settled", {"type": "settled"})
    await receive(layer, channel)
    await layer.group_discard("settled", channel)


# Channels -----------------------------------------------------------------------------------------


async def test_a_message_arrives_on_the_channel_that_it_was_sent_to(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.send(channel, HELLO)
    assert await receive(layer, channel) == HELLO


async def test_messages_arrive_in_the_order_in_which_they_were_sent(layer: Any) -> None:
    channel = await layer.new_channel()
    for number in (1, 2, 3):
        await layer.send(channel, {"type": "message", "number": number})
    assert [(await receive(layer, channel))["number"] for _ in range(3)] == [1, 2, 3]


async def test_channels_do_not_hear_each_other(layer: Any) -> None:
    one, other = await layer.new_channel(), await layer.new_channel()
    await layer.send(one, {"type": "for.one"})
    await layer.send(other, {"type": "for.other"})
    assert await receive(layer, other) == {"type": "for.other"}
    assert await receive(layer, one) == {"type": "for.one"}


async def test_a_general_channel_keeps_what_was_sent_until_it_is_received(layer: Any) -> None:
    for number in (1, 2, 3):
        await layer.send("thumbnails", {"type": "make", "number": number})
    assert [(await receive(layer, "thumbnails"))["number"] for _ in range(3)] == [1, 2, 3]


async def test_each_message_of_a_general_channel_has_one_receiver(layer: Any) -> None:
    receivers = [asyncio.ensure_future(receive(layer, "thumbnails")) for _ in range(4)]
    for number in range(4):
        await layer.send("thumbnails", {"type": "make", "number": number})
    received = [message["number"] for message in await asyncio.gather(*receivers)]
    assert sorted(received) == [0, 1, 2, 3]


async def test_a_full_general_channel_refuses_what_is_sent_to_it(layer: Any) -> None:
    for _ in range(CAPACITY):
        await layer.send("thumbnails", HELLO)
    with pytest.raises(ChannelFull):
        await layer.send("thumbnails", HELLO)
    await receive(layer, "thumbnails")
    await layer.send("thumbnails", HELLO)


@pytest.mark.parametrize("name", ["", "two words", "nö", "a" * 100, None])
async def test_nothing_is_received_from_a_bad_name(layer: Any, name: Any) -> None:
    with pytest.raises(TypeError):
        await receive(layer, name)


async def test_one_message_wakes_one_receiver(layer: Any) -> None:
    channel = await layer.new_channel()
    receivers = [asyncio.ensure_future(receive(layer, channel)) for _ in range(2)]
    await layer.send(channel, {"type": "first"})
    await asyncio.wait(receivers, return_when=asyncio.FIRST_COMPLETED)
    assert sum(task.done() for task in receivers) == 1
    await layer.send(channel, {"type": "second"})
    assert {message["type"] for message in await asyncio.gather(*receivers)} == {"first", "second"}


async def test_a_channel_name_begins_with_its_prefix_and_is_valid(layer: Any) -> None:
    for name in (await layer.new_channel(), await layer.new_channel("mail.of-somebody.")):
        assert BaseChannelLayer().require_valid_channel_name(name)
        assert name.startswith(("specific.", "mail.of-somebody."))
        assert name.count("!") == 1


async def test_channel_names_are_never_used_twice(layer: Any) -> None:
    names = set()
    for _ in range(50):
        random.seed(1)
        names.add(await layer.new_channel())
    assert len(names) == 50


@pytest.mark.parametrize("name", ["", "two words", "nö", "a" * 100, "a!b!c", "a/b", None, 7])
async def test_a_bad_name_is_refused(layer: Any, name: Any) -> None:
    channel = await layer.new_channel()
    with pytest.raises(TypeError):
        await layer.send(name, HELLO)
    with pytest.raises(TypeError):
        await layer.group_add("group", name)
    for call in (layer.group_add, layer.group_discard):
        with pytest.raises(TypeError):
            await call(name, channel)
    with pytest.raises(TypeError):
        await layer.group_send(name, HELLO)


async def test_a_group_name_has_no_exclamation_mark(layer: Any) -> None:
    with pytest.raises(TypeError):
        await layer.group_send("a!b", HELLO)


@pytest.mark.parametrize("message", ["text", b"bytes", None, ["type"], 7])
async def test_only_a_dict_is_a_message(layer: Any, message: Any) -> None:
    channel = await layer.new_channel()
    for send, name in ((layer.send, channel), (layer.group_send, "group")):
        with pytest.raises(TypeError, match="a message is a dict"):
            await send(name, message)


async def test_the_sender_may_change_its_message_afterwards(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for send, name in ((layer.send, channel), (layer.group_send, "group")):
        message: dict[str, Any] = {"type": "test", "list": [1, 2], "inner": {"key": "value"}}
        await send(name, message)
        message["list"].append(3)
        message["inner"].clear()
        received = await receive(layer, channel)
        assert received == {"type": "test", "list": [1, 2], "inner": {"key": "value"}}


async def test_receivers_do_not_share_a_message(layer: Any) -> None:
    one, other = await layer.new_channel(), await layer.new_channel()
    for channel in (one, other):
        await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "test", "list": [1, 2], "inner": {"key": "value"}})
    first = await receive(layer, one)
    first["list"].append(3)
    first["inner"]["key"] = "changed"
    first["new"] = True
    second = await receive(layer, other)
    assert second == {"type": "test", "list": [1, 2], "inner": {"key": "value"}}


async def test_every_value_of_json_arrives_as_it_is(layer: Any) -> None:
    channel = await layer.new_channel()
    message: dict[str, Any] = {
        "type": "test",
        "values": [None, True, False, 0, -1, 2**53, 1.5, "", "ünïcödé ☃", [], {}, [[{"a": [1]}]]],
    }
    await layer.send(channel, message)
    assert await receive(layer, channel) == message


# Capacity -----------------------------------------------------------------------------------------


async def test_a_full_channel_refuses_what_is_sent_to_it(layer: Any) -> None:
    channel = await layer.new_channel()
    for number in range(CAPACITY):
        await layer.send(channel, {"type": "message", "number": number})
    with pytest.raises(ChannelFull):
        await layer.send(channel, {"type": "message"})
    assert (await receive(layer, channel))["number"] == 0
    await layer.send(channel, {"type": "message", "number": CAPACITY})
    assert [(await receive(layer, channel))["number"] for _ in range(CAPACITY)] == [1, 2, 3, 4, 5]


async def test_a_group_goes_on_without_its_full_channels(
    layer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    full, free = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("group", full)
    await layer.group_add("group", free)
    for number in range(CAPACITY + 2):
        await layer.group_send("group", {"type": "message", "number": number})
        assert (await receive(layer, free))["number"] == number
    assert [(await receive(layer, full))["number"] for _ in range(CAPACITY)] == [0, 1, 2, 3, 4]
    assert is_empty(layer, full)
    assert f"channel {full} of group group is full" in caplog.text


# Groups -------------------------------------------------------------------------------------------


async def test_a_group_message_arrives_on_the_channels_that_are_in_the_group(layer: Any) -> None:
    channels = [await layer.new_channel(f"test{number}.") for number in range(3)]
    for channel in channels:
        await layer.group_add("group", channel)
    await layer.group_discard("group", channels[1])
    await layer.group_send("group", HELLO)
    assert await receive(layer, channels[0]) == HELLO
    assert await receive(layer, channels[2]) == HELLO
    await settled(layer)
    assert is_empty(layer, channels[1])


async def test_channels_of_one_prefix_are_different_members(layer: Any) -> None:
    channels = [await layer.new_channel("same") for _ in range(3)]
    for channel in channels:
        await layer.group_add("group", channel)
    await layer.group_send("group", HELLO)
    for channel in channels:
        assert await receive(layer, channel) == HELLO


async def test_a_channel_may_be_in_several_groups(layer: Any) -> None:
    channel = await layer.new_channel()
    for group in ("one", "two", "three"):
        await layer.group_add(group, channel)
    await layer.group_discard("two", channel)
    for group in ("one", "two", "three"):
        await layer.group_send(group, {"type": "from", "group": group})
    arrived = {(await receive(layer, channel))["group"] for _ in range(2)}
    assert arrived == {"one", "three"}


async def test_joining_twice_is_joining_once(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_add("group", channel)
    await layer.group_send("group", HELLO)
    assert await receive(layer, channel) == HELLO
    await settled(layer)
    assert is_empty(layer, channel)
    await layer.group_discard("group", channel)
    await layer.group_send("group", HELLO)
    await settled(layer)
    assert is_empty(layer, channel)


async def test_leaving_a_group_that_one_is_not_in_does_nothing(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_discard("group", channel)
    await layer.group_add("group", channel)
    await layer.group_discard("group", "specific.somebody-else!1")
    await layer.group_discard("group", channel)
    await layer.group_discard("group", channel)


async def test_a_message_to_an_empty_group_goes_nowhere(layer: Any) -> None:
    await layer.group_send("nobody", HELLO)


async def test_a_channel_of_another_process_cannot_join_here(layer: Any) -> None:
    with pytest.raises(RuntimeError, match=r"self\.channel_layer\.group_add\('group', self"):
        await layer.group_add("group", "specific.of-another-process!1")


async def test_rejoining_right_after_leaving_misses_nothing(layer: Any) -> None:
    """A page that is loaded again: the old socket leaves when the new one joins."""
    for turn in range(20):
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", {"type": "turn", "turn": turn})
        assert (await receive(layer, channel))["turn"] == turn
        await layer.group_discard("group", channel)


# Waiting ------------------------------------------------------------------------------------------


async def test_receiving_waits_for_a_message(layer: Any) -> None:
    channel = await layer.new_channel()
    receiving = asyncio.ensure_future(receive(layer, channel))
    await asyncio.sleep(0)
    assert not receiving.done()
    await layer.send(channel, HELLO)
    assert await receiving == HELLO


async def test_a_cancelled_receiver_takes_no_message_with_it(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for _ in range(3):
        receiving = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive(channel), 0.01)
    await layer.send(channel, HELLO)
    assert await receive(layer, channel) == HELLO
    await layer.group_send("group", HELLO)
    assert await receive(layer, channel) == HELLO, "and its channel is in its groups still"


async def test_the_channel_of_a_consumer_that_ended_is_forgotten(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Channels has no way to give a channel back: its last receiver is cancelled, that is all."""
    monkeypatch.setattr("realtime.delivery.process_layer.ABANDONED_SECONDS", 0.01)
    local = getattr(layer, "loop_layer", layer).local
    for _ in range(10):
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        receiving = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)
        receiving.cancel()
    await until(lambda: not local.mailboxes and not local.groups)


async def test_the_channel_of_a_receiver_that_looks_now_and_then_is_kept(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.delivery.process_layer.ABANDONED_SECONDS", 0.01)
    channel = await layer.new_channel()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive(channel), 0.001)
    for _ in range(2):
        await layer.send(channel, HELLO)
        assert await receive(layer, channel) == HELLO
    # What is looked for is that nothing happens when the time has passed.
    await asyncio.sleep(0.03)
    await layer.group_add("group", channel)


# Flush and the extensions -------------------------------------------------------------------------


async def test_flush_makes_it_like_new(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    for name in (channel, "thumbnails"):
        await layer.send(name, HELLO)
    await layer.flush()
    assert is_empty(layer, channel)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive("thumbnails"), 0.05)
    with pytest.raises(RuntimeError):
        await layer.group_add("group", await other_name(layer))
    channel = await layer.new_channel()
    await layer.group_send("group", HELLO)
    await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "after"})
    assert await receive(layer, channel) == {"type": "after"}
    await layer.flush()
    await layer.flush()


async def other_name(layer: Any) -> str:
    channel: str = await layer.new_channel()
    await layer.flush()
    return channel


async def test_it_says_what_it_can(layer: Any) -> None:
    assert {"groups", "flush", "streams"} <= set(layer.extensions)
    assert layer.capacity == CAPACITY


async def test_its_calls_are_coroutine_functions(layer: Any) -> None:
    """async_to_sync warns otherwise."""
    for name in ("send", "receive", "new_channel", "group_add", "group_discard", "group_send"):
        assert asyncio.iscoroutinefunction(getattr(layer, name))


# Streams, for a consumer that knows nothing of them -----------------------------------------------


async def publish(layer: Any, *texts: str, group: str = "market-data.AAPL") -> None:
    stream = Stream.from_group(group)
    assert stream is not None
    for text in texts:
        await getattr(layer, "loop_layer", layer).send_updates(
            [(stream, b'{"n":%b' % text.encode())]
        )


async def test_an_ordinary_consumer_gets_updates_as_events(layer: Any) -> None:
    await publish(layer, "1")
    channel = await layer.new_channel()
    await layer.group_add("market-data.AAPL", channel)
    await publish(layer, "2", "3", "4")
    for number in (2, 3, 4):
        assert await receive(layer, channel) == {
            "type": "stream.update",
            "text": f'{{"n":{number},"offset":{number}}}',
        }
    await layer.group_discard("market-data.AAPL", channel)
    await publish(layer, "5")
    await settled(layer)
    assert is_empty(layer, channel)


async def test_an_ordinary_consumer_can_read_every_symbol(layer: Any) -> None:
    await publish(layer, "1")
    channel = await layer.new_channel()
    await layer.group_add("market-data.every", channel)
    await layer.group_add("market-data.AAPL", channel)
    await publish(layer, "2")
    await publish(layer, "7", group="market-data.MSFT")
    await publish(layer, "9", group="predictions.MSFT")
    told = [json.loads((await receive(layer, channel))["text"]) for _ in range(2)]
    assert [(update["n"], update["offset"]) for update in told] == [(2, 2), (7, 1)]
    await settled(layer)
    assert is_empty(layer, channel), "once, though it joined both groups"


async def test_an_ordinary_message_may_use_the_group_of_a_stream(layer: Any) -> None:
    channel = await layer.new_channel()
    await layer.group_add("market-data.AAPL", channel)
    await layer.group_send("market-data.AAPL", HELLO)
    assert await receive(layer, channel) == HELLO


async def test_a_full_channel_of_an_ordinary_consumer_loses_updates_and_says_so(
    layer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    channel = await layer.new_channel()
    await layer.group_add("market-data.AAPL", channel)
    await publish(layer, *map(str, range(1, CAPACITY + 3)))
    await settled(layer)
    await until(lambda: "an update was dropped" in caplog.text)
    assert [(await receive(layer, channel))["text"][5] for _ in range(CAPACITY)] == list("12345")


# What only one of them has ------------------------------------------------------------------------


async def test_a_message_that_nobody_receives_in_time_expires() -> None:
    layer = MemoryStreamLayer(expiry=0.05)
    await layer.send("general", {"type": "old"})
    await asyncio.sleep(0.06)
    await layer.send("general", {"type": "new"})
    assert (await layer.receive("general"))["type"] == "new"
    assert layer.channels == {}


async def test_a_full_channel_has_room_again_when_messages_have_expired() -> None:
    layer = MemoryStreamLayer(expiry=0.05, capacity=1)
    await layer.send("general", HELLO)
    with pytest.raises(ChannelFull):
        await layer.send("general", HELLO)
    await asyncio.sleep(0.06)
    await layer.send("general", HELLO)


async def test_channels_may_have_capacities_of_their_own() -> None:
    layer = MemoryStreamLayer(capacity=1, channel_capacity={"wide*": 3})
    for _ in range(3):
        await layer.send("wide-one", HELLO)
    await layer.send("other", HELLO)
    for name in ("wide-one", "other"):
        with pytest.raises(ChannelFull):
            await layer.send(name, HELLO)


async def test_a_channel_that_nobody_has_received_from_may_join_a_group() -> None:
    layer = MemoryStreamLayer()
    await layer.group_add("group", "general")
    await layer.group_send("group", HELLO)
    assert await layer.receive("general") == HELLO


async def test_the_memory_layer_shows_who_is_there_to_tests_of_consumers() -> None:
    layer = MemoryStreamLayer()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    assert list(layer.groups["group"]) == [channel]
    receiving = asyncio.ensure_future(layer.receive(channel))
    await asyncio.sleep(0)
    assert list(layer.channels) == [channel]
    await layer.send(channel, HELLO)
    await receiving
    await layer.group_discard("group", channel)
    assert layer.groups == layer.channels == {}


async def test_a_general_channel_carries_what_can_be_serialised(valkey: Valkey) -> None:
    """As that of channels_redis does."""
    sender, receiver = (RedisStreamLayer(hosts=[valkey.url]) for _ in range(2))
    receiving = asyncio.create_task(receiver.receive("general"))
    await sender.send("general", "text")
    assert await asyncio.wait_for(receiving, PATIENCE) == "text"
    for layer in (sender, receiver):
        await layer.flush()
