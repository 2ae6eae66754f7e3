"""One connection to Redis: wishes for subscriptions, through cuts and restarts."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from realtime.delivery.link import RECONNECT_MOST, Link, _longest_pause
from realtime.delivery.publisher import BackendUnavailable
from tests.delivery.exchange import (  # fmt: skip
    HELLO,
    Make,
    follow,
    publish,
    receive,
)
from tests.delivery.updates import AAPL, EVERY, MSFT
from tests.delivery.waiting import until
from tests.patience import PATIENCE
from tests.processes import Valkey, free_port


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
        await asyncio.wait_for(link.subscribe(name), PATIENCE)
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
        await asyncio.wait_for(link.subscribe("second"), PATIENCE)
        await asyncio.wait_for(link.subscribe("first"), PATIENCE)
        await layer.flush()


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
    async with asyncio.timeout(PATIENCE):
        channel = await layer.new_channel()
    joining = asyncio.ensure_future(layer.group_add("group", channel))
    following = asyncio.ensure_future(follow(layer, AAPL))
    with server:
        async with asyncio.timeout(PATIENCE):
            await joining
            reader = await following
        await layer.group_send("group", HELLO)
        assert await receive(layer, channel) == HELLO
        await publish(layer, AAPL, 1)
        await until(lambda: reader.offsets == [1])
        await layer.flush()


# A Redis that refuses -----------------------------------------------------------------------------


async def test_a_subscription_that_is_refused_is_asked_for_ever_more_slowly(
    make: Make, tcp_valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis compares patterns of subscriptions letter by letter: `asgi*` is not enough for them."""
    control: Any = tcp_valkey.client()
    control.execute_command("ACL", "SETUSER", "ara", "on", ">secret", "~*", "+@all", "&asgi*")
    layer = make(f"redis://ara:secret@127.0.0.1:{tcp_valkey.port}/0")
    following = asyncio.ensure_future(follow(layer, EVERY))
    link: Link = layer.loop_layer.links[0]
    with caplog.at_level(logging.INFO, logger="realtime.delivery.link"):
        await until(lambda: link._attempt >= 5)
        told = [record.message for record in caplog.records]
        assert len(told) == 1, "one line, however often it is refused"
        assert "docs/explanation/redis.md" in told[0]
        control.execute_command("ACL", "SETUSER", "ara", "&asgi__group__market-data.*")
        reader = await asyncio.wait_for(following, PATIENCE)
    assert caplog.records[-1].message == "Redis is back"
    await publish(layer, AAPL, 1)
    await until(reader.has(1))


def test_the_pauses_end_however_long_redis_is_away() -> None:
    pauses = [_longest_pause(attempt) for attempt in (1, 2, 3, 5000, 10**9)]
    assert pauses == [0.1, 0.2, 0.4, RECONNECT_MOST, RECONNECT_MOST]


async def test_redis_is_back_when_everything_wanted_is_in_force(make: Make) -> None:
    """Not when it was asked for: what is read then could miss what is published before that."""
    layer = make()
    link: Link = layer.loop_layer.links[0]
    in_force: list[bool] = []
    layer.loop_layer.on_reconnect(
        lambda: in_force.append(all(future.done() for future in link._names.values()))
    )
    await layer.new_channel()
    await link.subscribe("asgi__group__name")
    await link.redis.client_kill_filter(_type="pubsub")
    await until(lambda: len(in_force) == 2)
    assert in_force == [True, True]
