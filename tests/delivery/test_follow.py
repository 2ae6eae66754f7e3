"""Reading streams inside the server, through both layers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured

from realtime.broadcast import abroadcast_many, alert_update, market_data_update, prediction_update
from realtime.delivery import follow as module
from realtime.delivery.follow import Lost, subscribe
from realtime.delivery.layers import RedisStreamLayer
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.updates import Update
from realtime.protocol import Position
from realtime.streams import ALERTS_ALL, Stream, user_alerts
from tests.conftest import REDIS
from tests.delivery.updates import AAPL, EVERY, MSFT
from tests.delivery.waiting import until
from tests.patience import PATIENCE
from tests.processes import Valkey

Item = Update | Lost


@pytest.fixture
async def layer(each_layer: str) -> AsyncIterator[Any]:
    """The layer that `subscribe` uses; its part of this event loop."""
    outer: Any = get_channel_layer()
    inner = getattr(outer, "loop_layer", outer)
    yield inner
    await outer.flush()


async def publish(count: int, stream: Stream = AAPL, first: int = 1) -> None:
    await abroadcast_many(
        [market_data_update(stream.symbol, {"n": n}) for n in range(first, first + count)]
    )


async def take(items: AsyncIterator[Item], count: int) -> list[Item]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(items) for _ in range(count)]


def told(items: Sequence[Item]) -> list[Any]:
    return [
        (item.first, item.last) if isinstance(item, Lost) else (item.stream.symbol, item.offset)
        for item in items
    ]


async def epoch_of(layer: Any, stream: Stream = AAPL) -> str:
    epoch: str = (await layer.read_newest(stream, 1)).epoch
    return epoch


# Where it begins ----------------------------------------------------------------------------------


async def test_it_begins_with_the_newest_and_goes_on(layer: Any) -> None:
    await publish(3)
    async with aclosing(subscribe([AAPL])) as items:
        (newest,) = await take(items, 1)
        assert isinstance(newest, Update)
        assert (newest.offset, newest.data) == (3, {"n": 3})
        await publish(2)
        assert told(await take(items, 2)) == [("AAPL", 4), ("AAPL", 5)]


async def test_a_stream_without_updates_begins_with_its_first(layer: Any) -> None:
    async with aclosing(subscribe([AAPL])) as items:
        first = asyncio.ensure_future(take(items, 2))
        await until(lambda: layer.local.fanout.state(AAPL).readers)
        await publish(2)
        assert told(await first) == [("AAPL", 1), ("AAPL", 2)]


async def test_a_position_is_continued(layer: Any) -> None:
    await publish(10)
    since = {AAPL: Position(await epoch_of(layer), 4)}
    async with aclosing(subscribe([AAPL], since)) as items:
        assert told(await take(items, 6)) == [("AAPL", n) for n in range(5, 11)]
        await publish(1)
        assert told(await take(items, 1)) == [("AAPL", 11)]


async def test_a_position_at_the_head_has_nothing_to_replay(layer: Any) -> None:
    await publish(3)
    since = {AAPL: Position(await epoch_of(layer), 3)}
    async with aclosing(subscribe([AAPL], since)) as items:
        following = asyncio.ensure_future(take(items, 1))
        await until(lambda: layer.local.fanout.state(AAPL).readers)
        await publish(1)
        assert told(await following) == [("AAPL", 4)]


async def test_what_is_not_held_any_more_is_named(layer: Any, settings: Any) -> None:
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 3}
    await publish(10)
    layer.local.fanout.forget(AAPL.group)  # as in a process that has just started
    since = {AAPL: Position(await epoch_of(layer), 4)}
    async with aclosing(subscribe([AAPL], since)) as items:
        lost, *held = await take(items, 4)
        assert lost == Lost(AAPL, 5, 7, since[AAPL].epoch)
        assert told(held) == [("AAPL", 8), ("AAPL", 9), ("AAPL", 10)]


async def test_another_epoch_is_named_from_its_beginning(layer: Any) -> None:
    await publish(3)
    async with aclosing(subscribe([AAPL], {AAPL: Position("another", 7)})) as items:
        lost, *held = await take(items, 4)
        assert lost == Lost(AAPL, 1, 0, await epoch_of(layer))
        assert told(held) == [("AAPL", 1), ("AAPL", 2), ("AAPL", 3)]


async def test_a_position_far_back_is_continued_as_long_as_the_history_holds_it(layer: Any) -> None:
    await publish(950)
    since = {AAPL: Position(await epoch_of(layer), 4)}
    async with aclosing(subscribe([AAPL], since)) as items:
        assert told(await take(items, 946)) == [("AAPL", n) for n in range(5, 951)]
        await publish(1)
        assert told(await take(items, 1)) == [("AAPL", 951)]


async def test_a_stream_that_was_born_meanwhile_is_read_from_its_first_update(layer: Any) -> None:
    await publish(3)
    since = {AAPL: Position(await epoch_of(layer), 3)}
    await publish(2, MSFT)
    async with aclosing(subscribe([EVERY], since)) as items:
        assert told(await take(items, 2)) == [("MSFT", 1), ("MSFT", 2)]


async def test_who_has_seen_nothing_yet_reads_every_stream_from_its_first_update(
    layer: Any,
) -> None:
    await publish(3)
    async with aclosing(subscribe([EVERY], since={})) as items:
        assert told(await take(items, 3)) == [("AAPL", 1), ("AAPL", 2), ("AAPL", 3)]


async def test_updates_that_come_while_it_begins_are_all_read(layer: Any) -> None:
    async with aclosing(subscribe([EVERY], since={})) as items:
        taking = asyncio.create_task(take(items, 40))
        for symbol in (AAPL, MSFT):
            for number in range(1, 21):
                await publish(1, symbol, number)
                await asyncio.sleep(0)
        offsets = {AAPL.symbol: list[int](), MSFT.symbol: list[int]()}
        for item in await taking:
            assert isinstance(item, Update)
            offsets[item.stream.symbol].append(item.offset)
        assert offsets == {"AAPL": list(range(1, 21)), "MSFT": list(range(1, 21))}


async def test_another_epoch_without_updates_is_named_too(layer: Any) -> None:
    async with aclosing(subscribe([AAPL], {AAPL: Position("another", 7)})) as items:
        (lost,) = await take(items, 1)
        assert isinstance(lost, Lost)
        assert (lost.first, lost.last) == (1, 0)
        await publish(1)
        assert told(await take(items, 1)) == [("AAPL", 1)]


# Several streams ----------------------------------------------------------------------------------


async def test_several_streams_are_read_at_once(layer: Any) -> None:
    await publish(2, AAPL)
    await publish(5, MSFT)
    predictions = Stream("predictions", "AAPL")
    since = {MSFT: Position(await epoch_of(layer, MSFT), 3)}
    async with aclosing(subscribe([AAPL, MSFT, predictions], since)) as items:
        assert told(await take(items, 3)) == [("MSFT", 4), ("MSFT", 5), ("AAPL", 2)]
        await abroadcast_many([prediction_update("AAPL", {}), market_data_update("MSFT", {})])
        arrived = await take(items, 2)
        assert {item.stream for item in arrived} == {predictions, MSFT}


async def test_every_symbol_is_read_also_one_that_appears_later(layer: Any) -> None:
    await publish(2, AAPL)
    async with aclosing(subscribe([EVERY])) as items:
        assert told(await take(items, 1)) == [("AAPL", 2)]
        await publish(2, MSFT)
        await publish(1, AAPL)
        arrived = told(await take(items, 3))
        assert sorted(arrived) == [("AAPL", 3), ("MSFT", 1), ("MSFT", 2)]


async def test_every_symbol_is_continued_from_the_position_of_each(layer: Any) -> None:
    await publish(4, AAPL)
    await publish(4, MSFT)
    since = {
        AAPL: Position(await epoch_of(layer, AAPL), 3),
        MSFT: Position(await epoch_of(layer, MSFT), 1),
        Stream("predictions", "AAPL"): Position("of another channel", 1),
    }
    async with aclosing(subscribe([EVERY], since)) as items:
        arrived = told(await take(items, 4))
    assert sorted(arrived) == [("AAPL", 4), ("MSFT", 2), ("MSFT", 3), ("MSFT", 4)]
    assert [item for item in arrived if item[0] == "MSFT"] == [("MSFT", n) for n in (2, 3, 4)]


async def test_a_symbol_that_is_named_besides_every_symbol_is_read_once(layer: Any) -> None:
    await publish(2, AAPL)
    async with aclosing(subscribe([AAPL, EVERY, AAPL])) as items:
        assert told(await take(items, 1)) == [("AAPL", 2)]
        await publish(2, AAPL)
        await publish(1, MSFT)
        assert sorted(told(await take(items, 3))) == [("AAPL", 3), ("AAPL", 4), ("MSFT", 1)]


async def test_alerts_of_users_are_streams_of_their_own(layer: Any) -> None:
    mine, others = user_alerts(7), user_alerts(8)
    async with aclosing(subscribe([ALERTS_ALL, mine])) as items:
        following = asyncio.ensure_future(take(items, 2))
        await until(lambda: layer.local.fanout.state(mine).readers)
        await abroadcast_many([alert_update({"n": 1}, 8), alert_update({"n": 2}, 7)])
        await abroadcast_many([alert_update({"n": 3})])
        arrived = await following
    assert {item.stream for item in arrived} == {ALERTS_ALL, mine}
    assert others not in {item.stream for item in arrived}


async def test_positions_of_what_was_read_continue_it(layer: Any) -> None:
    """What a recorder does: it notes where it was, stops, and goes on later."""
    positions: dict[Stream, Position] = {}
    seen = []
    for turn in range(4):
        await publish(5, AAPL, turn * 5 + 1)
        async with aclosing(subscribe([AAPL], positions)) as items:
            count = 5 if turn else 1
            for item in await take(items, count):
                assert isinstance(item, Update)
                positions[item.stream] = Position(item.epoch, item.offset)
                seen.append(item.data["n"])
    assert seen == list(range(5, 21))


# A slow reader ------------------------------------------------------------------------------------


async def test_a_reader_that_falls_behind_reads_on_from_the_history(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    await publish(1)
    async with aclosing(subscribe([AAPL, MSFT])) as items:
        assert told(await take(items, 1)) == [("AAPL", 1)]
        for turn in range(3):
            await publish(30, AAPL)
            await publish(3, MSFT)
            arrived = told(await take(items, 33))
            base = 1 + 30 * turn
            assert [n for name, n in arrived if name == "AAPL"] == list(range(base + 1, base + 31))
            assert [n for name, n in arrived if name == "MSFT"] == [3 * turn + n for n in (1, 2, 3)]


async def test_a_stream_that_appears_while_the_reader_is_behind_is_read_from_its_first_update(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    await publish(1, AAPL)
    async with aclosing(subscribe([EVERY])) as items:
        await take(items, 1)
        await publish(20, AAPL)
        await publish(4, MSFT)
        arrived = told(await take(items, 24))
        assert [n for name, n in arrived if name == "AAPL"] == list(range(2, 22))
        assert [n for name, n in arrived if name == "MSFT"] == [1, 2, 3, 4]


async def test_a_reader_that_falls_too_far_behind_is_told_what_it_missed(
    layer: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 10}
    await publish(1)
    async with aclosing(subscribe([AAPL])) as items:
        await take(items, 1)
        await publish(100)
        arrived = told(await take(items, 16))
        held = [("AAPL", n) for n in range(92, 102)]
        assert arrived == [*(("AAPL", n) for n in range(2, 7)), (7, 91), *held]


# Its end ------------------------------------------------------------------------------------------


async def test_nothing_is_left_when_the_reader_stops(layer: Any) -> None:
    await publish(1)
    async with aclosing(subscribe([AAPL, EVERY])) as items:
        await take(items, 1)
        assert layer.local.mailboxes
    local = layer.local
    assert not local.mailboxes
    assert not local.groups
    assert not local.fanout.state(AAPL).readers
    assert not any(local.fanout.wildcards.values())


async def test_nothing_is_left_when_the_reader_is_cancelled(layer: Any) -> None:
    async def read() -> None:
        async with aclosing(subscribe([AAPL])) as items:
            async for _ in items:
                pass

    task = asyncio.ensure_future(read())
    await until(lambda: layer.local.fanout.state(AAPL).readers)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not layer.local.mailboxes
    assert not layer.local.fanout.state(AAPL).readers


@pytest.mark.parametrize(
    "backend", ["channels.layers.InMemoryChannelLayer", "channels_redis.core.RedisChannelLayer"]
)
async def test_a_layer_without_streams_is_a_mistake(settings: Any, backend: str) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend}}
    with pytest.raises(ImproperlyConfigured, match="channel layers"):
        await anext(subscribe([AAPL]))


# A backend that fails -----------------------------------------------------------------------------


async def test_a_history_that_fails_is_asked_again(
    layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis answers the subscription and not the question that follows it."""
    await publish(10)
    since = {AAPL: Position(await epoch_of(layer), 4)}
    prepare, failures = layer.prepare, iter([True, True])

    async def failing(*arguments: Any) -> None:
        if next(failures, False):
            raise BackendUnavailable("no answer")
        await prepare(*arguments)

    monkeypatch.setattr(layer, "prepare", failing)
    async with aclosing(subscribe([AAPL], since)) as items:
        assert told(await take(items, 6)) == [("AAPL", n) for n in range(5, 11)]


async def until_published(layer: RedisStreamLayer, body: bytes) -> None:
    """A connection to the server that died tells so at its first use."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(BackendUnavailable):
                await layer.send_updates([(AAPL, body)])
                return


async def test_a_redis_that_dies_and_comes_back_costs_nothing(
    tmp_path: Path, settings: Any
) -> None:
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    with Valkey(tmp_path, tcp=True, arguments=durable) as server:
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [server.url]}}}
        other = RedisStreamLayer(hosts=[server.url])  # the publisher's process
        body = market_data_update("AAPL", {}).body
        await other.send_updates([(AAPL, body)])
        async with aclosing(subscribe([AAPL])) as items:
            assert told(await take(items, 1)) == [("AAPL", 1)]
            server.kill()
            following = asyncio.ensure_future(take(items, 4))
            server.start()
            for _ in range(4):
                await until_published(other, body)
            assert told(await following) == [("AAPL", n) for n in (2, 3, 4, 5)]
        await other.flush()
        outer: Any = get_channel_layer()
        await outer.flush()
