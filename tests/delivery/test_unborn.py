"""Streams without updates: anybody may ask for them, and nobody else may notice."""

import asyncio
from typing import Any

import pytest

from realtime.delivery import fanout
from realtime.delivery.layers import MemoryStreamLayer
from realtime.protocol import Position
from realtime.streams import Stream, user_alerts
from tests.delivery.exchange import Make, commands, follow, publish, pubsub_channels
from tests.delivery.memory import Reader
from tests.delivery.updates import AAPL, EVERY, MSFT
from tests.delivery.waiting import until
from tests.processes import Valkey

STRANGE = [Stream("market-data", f"STRANGE{number}") for number in range(30)]


async def part(layer: Any, stream: Stream, reader: Reader) -> None:
    """What a socket does that closes."""
    layer.leave(stream, reader)
    for channel in tuple(layer.loop_layer.local.groups.get(stream.group, ())):
        layer.detach(channel)


def stream_keys(valkey: Valkey) -> list[bytes]:
    keys: list[bytes] = commands(valkey).keys("asgi:stream*")
    return keys


@pytest.mark.parametrize("stream", [AAPL, user_alerts(7)], ids=str)
async def test_it_leaves_nothing_in_redis(make: Make, valkey: Valkey, stream: Stream) -> None:
    layer = make()
    await follow(layer, stream)
    await layer.read_newest(stream, 1)
    await layer.read_after(stream, Position("", 0))
    assert stream_keys(valkey) == []


async def test_however_many_are_asked_for_redis_has_one_key(make: Make, valkey: Valkey) -> None:
    layer = make()
    for stream in STRANGE:
        await follow(layer, stream)
    assert commands(valkey).keys("*") == [b"asgi:era"]


@pytest.mark.parametrize("knows_all", [False, True])
async def test_it_is_forgotten_when_its_last_reader_goes(
    make: Make, valkey: Valkey, knows_all: bool
) -> None:
    layer = make()
    if knows_all:
        await follow(layer, EVERY)
    first, second = await follow(layer, AAPL), await follow(layer, AAPL)
    before = pubsub_channels(valkey)
    layer.leave(AAPL, first)
    assert AAPL.group in layer.loop_layer.local.fanout.streams
    await part(layer, AAPL, second)
    assert not layer.loop_layer.local.fanout.streams
    assert not layer.loop_layer._lingering
    await until(lambda: "asgi__group__market-data.AAPL" not in pubsub_channels(valkey))
    assert len(pubsub_channels(valkey)) == len(before) - (not knows_all)


async def test_a_consumer_that_did_not_attach_leaves_nothing_either(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add(AAPL.group, channel)
    await layer.group_discard(AAPL.group, channel)
    assert not layer.loop_layer.local.fanout.streams


async def test_the_layer_in_memory_forgets_it_as_well() -> None:
    layer = MemoryStreamLayer()
    channel = await layer.new_channel()
    layer.attach(channel, lambda message: None)
    await layer.group_add(AAPL.group, channel)
    await layer.prepare(AAPL, {})
    layer.detach(channel)
    assert not layer.local.fanout.streams
    assert not layer._streams


async def test_its_epoch_is_the_one_that_its_first_update_has(make: Make) -> None:
    layer, other = make(), make()
    reader = await follow(layer, AAPL)
    told, _ = reader.at["AAPL"]
    assert (await other.read_newest(AAPL, 1)).epoch == told
    await publish(other, AAPL, 1)
    await until(reader.has(1))
    assert reader.at == {"AAPL": (told, 1)}, "without a gap"


async def test_who_was_there_before_it_began_resumes_from_its_first_update(make: Make) -> None:
    layer = make()
    reader = await follow(layer, AAPL)
    epoch, offset = reader.at["AAPL"]
    await part(layer, AAPL, reader)
    await publish(layer, AAPL, 3)
    back = await follow(layer, AAPL, AAPL=Position(epoch, offset))
    assert back.events == [("update", 1), ("update", 2), ("update", 3)]


async def test_after_its_readers_have_gone_its_first_update_reaches_readers_of_all(
    make: Make,
) -> None:
    layer = make()
    every = await follow(layer, EVERY)
    await part(layer, AAPL, await follow(layer, AAPL))
    await publish(layer, AAPL, 2)
    await until(every.has(2))
    assert every.events == [("update", 1), ("update", 2)]


async def test_readers_of_every_symbol_are_not_told_of_it(make: Make) -> None:
    layer = make()
    await follow(layer, MSFT)
    every = await follow(layer, EVERY)
    await follow(layer, AAPL)
    assert every.at == {}
    assert layer.positions([EVERY]) == {}
    assert list(layer.positions([EVERY, AAPL])) == ["AAPL"]


async def test_one_that_has_expired_is_not_among_the_symbols_any_more(
    make: Make, valkey: Valkey
) -> None:
    await publish(make(), AAPL, 1)
    await publish(make(), MSFT, 1)
    for kind in ("meta", "history"):
        commands(valkey).delete(f"asgi:stream:market-data.AAPL:{kind}")
    layer = make()
    every = await follow(layer, EVERY)
    assert list(every.at) == ["MSFT"]
    assert list(layer.loop_layer.local.fanout.streams) == [MSFT.group]
    assert commands(valkey).smembers("asgi:streams:market-data") == {b"MSFT"}


async def test_one_that_has_expired_never_has_its_old_epoch_again(
    make: Make, valkey: Valkey
) -> None:
    layer = make()
    (first,) = await layer.send_updates([(AAPL, b"{")])
    commands(valkey).delete("asgi:stream:market-data.AAPL:meta")
    asked = (await layer.read_newest(AAPL, 1)).epoch
    (second,) = await layer.send_updates([(AAPL, b"{")])
    assert (second.epoch, second.offset) == (asked, 1)
    assert second.epoch != first.epoch


async def test_an_epoch_that_ended_before_the_first_update_costs_no_update(
    make: Make, valkey: Valkey
) -> None:
    layer = make()
    reader, every = await follow(layer, AAPL), await follow(layer, EVERY)
    commands(valkey).flushall()
    (published,) = await layer.send_updates([(AAPL, b"{")])
    await until(reader.has(2))
    assert reader.events == [("gap", 1, 0, published.epoch), ("update", 1)]
    assert every.events == [("update", 1)]


async def test_it_does_not_make_others_remember_less(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "RECENT_TOTAL", 20)
    layer = make()
    reader = await follow(layer, AAPL)
    await asyncio.gather(*(follow(layer, stream) for stream in STRANGE))
    await publish(layer, AAPL, 20)
    await until(reader.has(20))
    assert len(layer.loop_layer.local.fanout.state(AAPL).recent) == 20
