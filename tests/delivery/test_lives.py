"""An epoch ends with the life of its Redis, and the next one goes on with its numbers."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from realtime.delivery.follow import Lost, subscribe
from realtime.delivery.layers import RedisStreamLayer
from realtime.delivery.stream_state import Page
from realtime.delivery.updates import Update
from realtime.protocol import Position
from realtime.streams import Stream
from tests.conftest import REDIS
from tests.delivery.exchange import Make, commands, follow, prices_of, publish_prices
from tests.delivery.updates import AAPL
from tests.delivery.waiting import until
from tests.patience import PATIENCE
from tests.processes import Valkey

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey that keeps its data over a restart, for this test alone."""
    with Valkey(tmp_path / "redis", tcp=True, arguments=DURABLE) as server:
        yield server


@pytest.fixture
async def pair(make: Make, own: Valkey) -> tuple[RedisStreamLayer, RedisStreamLayer]:
    """A process that reads, and one that publishes."""
    return make(own.url), make(own.url)


def data(server: Valkey) -> dict[Path, bytes]:
    commands(server).bgrewriteaof()
    while commands(server).info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(0.01)
    return {file: file.read_bytes() for file in server.directory.glob("appendonlydir/*")}


def restart(server: Valkey, older: dict[Path, bytes] | None = None) -> None:
    """Killed and started again, with the data that it had once."""
    server.kill()
    if older is not None:
        for file in server.directory.glob("appendonlydir/*"):
            file.unlink()
        for file, content in older.items():
            file.write_bytes(content)
    server.start()


async def test_a_redis_with_all_its_data_goes_on_in_another_epoch(
    pair: tuple[RedisStreamLayer, RedisStreamLayer], own: Valkey
) -> None:
    here, there = pair
    reader = await prices_of(here)
    before = await publish_prices(there, 1, 3)
    await until(lambda: len(reader.got) == 3)
    restart(own)
    after = await publish_prices(there, 4, 5)
    await until(lambda: len(reader.got) == 5)
    assert [each.offset for each in (*before, *after)] == [1, 2, 3, 4, 5]
    assert before[0].epoch != after[0].epoch == reader.epoch
    assert (reader.prices, reader.gaps) == ([1, 2, 3, 4, 5], [(4, 3)])


@pytest.mark.parametrize("published", [0, 1, 5, 9])
async def test_what_is_published_after_older_data_came_back_reaches_readers(
    pair: tuple[RedisStreamLayer, RedisStreamLayer], own: Valkey, published: int
) -> None:
    here, there = pair
    reader = await prices_of(here)
    await publish_prices(there, 1, 3)
    older = data(own)
    await publish_prices(there, 4, 8)
    await until(lambda: len(reader.got) == 8)
    restart(own, older)
    after = await publish_prices(there, 101, 100 + published)
    await until(lambda: reader.gaps)
    after += await publish_prices(there, 201, 201)
    await until(lambda: 201 in reader.prices)
    assert reader.prices[8:] == [*range(101, 101 + published), 201]
    assert reader.gaps == [(4, 3)]
    assert [each.offset for each in after] == list(range(4, 5 + published))
    names = [(epoch, offset) for epoch, offset, _ in reader.got]
    assert len(set(names)) == len(names), "no number of an epoch names two updates"


async def test_a_redis_that_went_back_without_dying_is_noticed_as_well(
    pair: tuple[RedisStreamLayer, RedisStreamLayer], own: Valkey
) -> None:
    here, there = pair
    reader = await prices_of(here)
    await publish_prices(there, 1, 3)
    dumped = {key: commands(own).dump(key) for key in commands(own).keys("asgi:stream*")}
    await publish_prices(there, 4, 8)
    await until(lambda: len(reader.got) == 8)
    for key, value in dumped.items():
        commands(own).restore(key, 0, value, replace=True)
    await publish_prices(there, 101, 107)
    await until(lambda: 107 in reader.prices)
    assert reader.prices[8:] == [101, 102, 103, 104, 105, 106, 107]


async def test_who_was_away_meanwhile_gets_what_it_missed_of_both_epochs(
    pair: tuple[RedisStreamLayer, RedisStreamLayer], own: Valkey, make: Make
) -> None:
    here, there = pair
    (first,) = await publish_prices(there, 1, 1)
    since = Position(first.epoch, 1)
    await publish_prices(there, 2, 3)
    for begin in (4, 6, 8):
        restart(own)
        await publish_prices(there, begin, begin + 1)
    for layer in (here, make(own.url)):
        reader = await follow(layer, AAPL, AAPL=since)
        assert reader.offsets == [2, 3, 4, 5, 6, 7, 8, 9]
        assert reader.at["AAPL"][0] != first.epoch


async def test_a_position_behind_the_fork_is_not_recovered(
    pair: tuple[RedisStreamLayer, RedisStreamLayer], own: Valkey
) -> None:
    here, there = pair
    await publish_prices(there, 1, 3)
    older = data(own)
    (*_, last) = await publish_prices(there, 4, 8)
    restart(own, older)
    await publish_prices(there, 101, 109)
    reader = await follow(here, AAPL, AAPL=Position(last.epoch, last.offset))
    assert reader.offsets == []
    assert reader.at["AAPL"] != (last.epoch, last.offset)


async def test_who_was_there_before_the_first_update_misses_none_of_the_next_life(
    pair: tuple[RedisStreamLayer, RedisStreamLayer], own: Valkey, make: Make
) -> None:
    here, there = pair
    epoch, offset = (await follow(here, AAPL)).at["AAPL"]
    await publish_prices(
        there, 1, 1, Stream("market-data", "MSFT")
    )  # so that there is something to keep
    restart(own)
    await publish_prices(there, 1, 3)
    reader = await follow(make(own.url), AAPL, AAPL=Position(epoch, offset))
    assert reader.offsets == [1, 2, 3]


async def test_a_reader_inside_the_server_sees_no_more_than_the_updates(
    own: Valkey, settings: Any, make: Make
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [own.url]}}}
    there = make(own.url)
    await publish_prices(there, 1, 1)
    items: list[Update | Lost] = []
    async with aclosing(subscribe([AAPL])) as reading:
        items.append(await anext(reading))
        for begin in (2, 4):
            restart(own)
            await publish_prices(there, begin, begin + 1)
            items += [await asyncio.wait_for(anext(reading), PATIENCE) for _ in range(2)]
    assert [item.offset for item in items if isinstance(item, Update)] == [1, 2, 3, 4, 5]
    first = items[0]
    assert isinstance(first, Update)
    since = {AAPL: Position(first.epoch, 1)}
    async with aclosing(subscribe([AAPL], since)) as reading:
        again = [await asyncio.wait_for(anext(reading), PATIENCE) for _ in range(4)]
    assert [item.offset for item in again if isinstance(item, Update)] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("position", "known", "continues"),
    [
        (Position("now", 7), 7, True),
        (Position("before", 4), 4, True),
        (Position("before", 5), 5, True),
        (Position("before", 8), 5, False),
        (Position("another", 8), 0, False),
        (Position("", 0), 0, True),
        (None, 0, None),
    ],
)
def test_who_counts_what_it_has_had_counts_nothing_twice(
    position: Position | None, known: int, continues: bool | None
) -> None:
    """As the recorder of bars and the alert engine do."""
    page = Page("now", 9, [], forks={"before": 5})
    assert page.known(position) == known
    if position is not None:
        assert page.continues(position) is continues
