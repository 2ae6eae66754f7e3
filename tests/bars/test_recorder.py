"""The recorder over both layers and a real database; the kills with real processes."""

import asyncio
import contextlib
import math
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from realtime.bars import store
from realtime.bars.candles import Candles
from realtime.bars.recorder import run_recorder
from realtime.bars.ticks import read_price
from realtime.broadcast import abroadcast_many, market_data_update
from realtime.models import Bar, RecordedPosition
from realtime.protocol import Position
from tests.clients import wait_for
from tests.patience import PATIENCE, STOP_SECONDS
from tests.poison import refusing, write
from tests.processes import ROOT, Valkey, process_environment

pytestmark = pytest.mark.django_db(transaction=True)
START = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)


def trade(number: int, **data: Any) -> dict[str, Any]:
    """One trade a second, of one share each."""
    moment = START + timedelta(seconds=number)
    return {"price": 100 + number % 7, "volume": 1, "timestamp": moment.isoformat(), **data}


async def publish(first: int, count: int, symbol: str = "BTC-USD") -> None:
    await abroadcast_many(
        [market_data_update(symbol, trade(n)) for n in range(first, first + count)]
    )


@asynccontextmanager
async def recording() -> AsyncIterator[None]:
    """A recorder that is stopped in order at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_recorder(stop, flush_every=0.05))
    yield
    stop.set()
    await asyncio.wait_for(task, PATIENCE)


@database_sync_to_async
def volume(symbol: str = "BTC-USD", interval: str = "1m") -> float:
    return sum(bar.volume for bar in Bar.objects.filter(symbol=symbol, interval=interval))


async def until_volume(count: int, symbol: str = "BTC-USD") -> None:
    async def recorded() -> bool:
        return await volume(symbol) >= count

    try:
        await wait_for(recorded)
    except TimeoutError:
        raise AssertionError(f"{await volume(symbol)} of {count}") from None


@pytest.fixture
async def layer(each_layer: str) -> AsyncIterator[None]:
    yield
    await get_channel_layer().flush()  # type: ignore[union-attr]


@pytest.mark.usefixtures("layer")
async def test_market_data_becomes_bars() -> None:
    async with recording():
        await publish(0, 90)
        await until_volume(90)
    bars = [bar async for bar in Bar.objects.filter(interval="1m").order_by("start")]
    assert [(bar.start, bar.volume) for bar in bars] == [
        (START, 60),
        (START + timedelta(minutes=1), 30),
    ]
    assert (bars[0].open, bars[0].high, bars[0].low, bars[0].close) == (100, 106, 100, 103)
    assert await volume(interval="1d") == 90


@pytest.mark.usefixtures("layer")
async def test_one_that_starts_again_goes_on_where_it_was() -> None:
    for first in (0, 40, 80):
        async with recording():
            await publish(first, 40)
            await until_volume(first + 40)
    assert await volume() == 120


@pytest.mark.usefixtures("layer")
async def test_what_was_published_meanwhile_is_caught_up_from_the_whole_history() -> None:
    async with recording():
        await publish(0, 10)
        await until_volume(10)
    await publish(10, 900)  # three times what one resume gives
    async with recording():
        await until_volume(910)
    assert await volume() == 910


@pytest.mark.usefixtures("layer")
async def test_what_is_lost_for_good_is_told(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 20}
    async with recording():
        await publish(0, 10)
        await until_volume(10)
    await publish(10, 50)
    async with recording():
        await until_volume(30)
    assert "updates 11 to 40 of BTC-USD are no longer held" in caplog.text


@pytest.mark.usefixtures("layer")
async def test_a_trade_that_comes_again_after_a_restart_is_known() -> None:
    async with recording():
        await publish(0, 10)
        await until_volume(10)
    async with recording():
        await publish(5, 10)
        await until_volume(15)
    assert await volume() == 15


@pytest.mark.usefixtures("layer")
async def test_two_recorders_at_once_count_nothing_twice() -> None:
    async with recording(), recording():
        for first in range(0, 200, 20):
            await publish(first, 20)
            await asyncio.sleep(0.02)
        await until_volume(200)
    assert await volume() == 200


@pytest.mark.usefixtures("layer")
async def test_a_stream_that_begins_while_it_reads_is_recorded_from_its_first_update() -> None:
    async with recording():
        await publish(0, 1)
        await until_volume(1)
        await publish(0, 30, "ETH/USD")
        await until_volume(30, "ETH/USD")
    position = await RecordedPosition.objects.aget(symbol="ETH/USD")
    assert position.offset == 30


@pytest.mark.usefixtures("layer")
@pytest.mark.parametrize("scale", [1, 1000, 10**6, 10**9])
async def test_a_time_in_any_unit_is_in_its_bar(scale: int) -> None:
    async with recording():
        stamp = int(START.timestamp()) * scale
        await abroadcast_many([market_data_update("BTC-USD", trade(0, timestamp=stamp))])
        await until_volume(1)
    assert (await Bar.objects.aget(interval="1m")).start == START


@pytest.mark.usefixtures("layer")
async def test_what_is_no_price_is_told_once_and_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = [market_data_update("BTC-USD", trade(n, price=-1)) for n in range(3)]
    async with recording():
        await abroadcast_many([*bad, market_data_update("BTC-USD", trade(9))])
        await until_volume(1)
    assert (
        caplog.text.count(
            "an update of BTC-USD does not count towards a bar: price: -1 is not above zero"
        )
        == 1
    )
    assert await volume() == 1


@database_sync_to_async
def rename_table(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


@pytest.mark.usefixtures("layer")
async def test_a_database_that_goes_and_returns_costs_no_update(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with recording():
        await publish(0, 10)
        await until_volume(10)
        await rename_table("realtime_recordedposition", "away")
        await publish(10, 10)

        async def noticed() -> bool:
            return "trying again until it is back" in caplog.text

        await wait_for(noticed)
        await publish(20, 10)
        await rename_table("away", "realtime_recordedposition")
        await until_volume(30)
    assert await volume() == 30


async def test_a_layer_without_streams_is_refused(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    with pytest.raises(ImproperlyConfigured, match="this project's channel layers"):
        await run_recorder(asyncio.Event())


def test_the_command_refuses_a_layer_that_nothing_arrives_through() -> None:
    with pytest.raises(CommandError, match="nothing arrives here"):
        call_command("record_bars")


# The store --------------------------------------------------------------------------------------


def part(number: int) -> dict[Any, Any]:
    candles = Candles()
    price = read_price(trade(number), START, datetime.now(UTC))
    assert price is not None
    candles.add("BTC-USD", price)
    return candles.take()


def test_parts_of_a_bar_are_joined_in_the_database() -> None:
    for offset in (1, 2):
        before = {} if offset == 1 else {"BTC-USD": Position("E", offset - 1)}
        store.store(part(offset), before, {"BTC-USD": Position("E", offset)})
    bar = Bar.objects.get(interval="1m")
    assert (bar.open, bar.close, bar.volume) == (101, 102, 2)
    assert store.load_positions() == {"BTC-USD": Position("E", 2)}


def test_positions_that_somebody_moved_leave_the_bars_alone() -> None:
    store.store(part(1), {}, {"BTC-USD": Position("E", 1)})
    with pytest.raises(store.StaleCheckpoint, match="the position of BTC-USD was moved"):
        store.store(part(2), {}, {"BTC-USD": Position("E", 2)})
    assert Bar.objects.get(interval="1m").volume == 1


def test_many_bars_are_written_in_few_statements(django_assert_max_num_queries: Any) -> None:
    candles = Candles()
    for number in range(0, 60 * 250, 60):
        price = read_price(trade(number), START, datetime.now(UTC))
        assert price is not None
        candles.add("BTC-USD", price)
    with django_assert_max_num_queries(12):
        store.store(candles.take(), {}, {"BTC-USD": Position("E", 1)})
    assert Bar.objects.filter(interval="1m").count() == 250


# One that is poisoned costs the others nothing ----------------------------------------------------


HUGE = 1.7e308


@pytest.mark.usefixtures("layer")
@pytest.mark.parametrize(
    "bad",
    [
        [{"price": HUGE, "volume": HUGE}] * 2,
        [{"price": 1, "volume": 1, "bar_date": "0001-01-01"}] * 2,
        [{"price": 1, "timestamp": "0001-01-01T00:00:00+14:00"}],
        [{"price": 1, "timestamp": -(10**300)}],
        [{"price": 1, "timestamp": {}, "trade_id": []}],
        [{"price": 1, "timestamp": "9999-12-31T23:59:59-12:00"}],
    ],
)
async def test_numbers_at_the_end_of_a_float_stop_no_bar(bad: list[dict[str, Any]]) -> None:
    poison = [market_data_update("BAD", {**data, "trade_id": n}) for n, data in enumerate(bad)]
    for again in range(2):  # also one that starts again
        async with recording():
            await abroadcast_many([*poison, market_data_update("BTC-USD", trade(again))])
            await until_volume(again + 1)
    async for bar in Bar.objects.all():
        assert all(map(math.isfinite, (bar.open, bar.high, bar.low, bar.close, bar.volume)))


@pytest.mark.usefixtures("layer")
async def test_a_symbol_that_the_database_refuses_costs_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    poison = refusing("realtime_bar", "symbol", "BAD")
    await database_sync_to_async(poison.__enter__)()
    try:
        async with recording():
            for number in range(3):
                await publish(number, 1, "BAD")
                await publish(number, 1)
                await until_volume(number + 1)
    finally:
        await database_sync_to_async(poison.__exit__)(None, None, None)
    assert caplog.text.count("bars of BAD cannot be stored") == 1
    assert (await RecordedPosition.objects.aget(symbol="BAD")).offset == 3


@pytest.mark.parametrize("value", ["Infinity", "NaN"])
def test_a_stored_bar_that_holds_no_number_begins_again(value: str) -> None:
    store.store(part(1), {}, {"BTC-USD": Position("E", 1)})
    for bar in Bar.objects.all():
        write("realtime_bar", bar.pk, "volume", value)
    store.store(part(2), {"BTC-USD": Position("E", 1)}, {"BTC-USD": Position("E", 2)})
    assert [bar.volume for bar in Bar.objects.all()] == [1, 1]


# Killed -----------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path, migrated_database: Path) -> Path:
    (tmp_path / "db.sqlite3").write_bytes(migrated_database.read_bytes())
    return tmp_path


@contextlib.contextmanager
def recorder_process(directory: Path, url: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "record_bars"],
        cwd=ROOT,
        env=process_environment(directory, {"REDIS_URL": url}),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(STOP_SECONDS)


def counted(directory: Path) -> float:
    """The trades in the bars of that directory's database."""
    with contextlib.closing(sqlite3.connect(directory / "db.sqlite3")) as database:
        row = database.execute("SELECT SUM(volume) FROM realtime_bar WHERE interval = '1m'")
        total: float | None = row.fetchone()[0]
        return total or 0


async def more_than(directory: Path, count: float) -> bool:
    return counted(directory) > count


@pytest.mark.slow
@pytest.mark.usefixtures("redis_layer")
async def test_one_that_is_killed_at_any_moment_counts_each_update_once(
    directory: Path, valkey: Valkey
) -> None:
    stop = asyncio.Event()
    published = 0

    async def trades() -> None:
        nonlocal published
        while not stop.is_set():
            await publish(published, 3)
            published += 3
            await asyncio.sleep(0.02)

    publishing = asyncio.create_task(trades())
    chance = random.Random(7)
    for _ in range(2):
        before = counted(directory)
        with recorder_process(directory, valkey.url):
            await wait_for(partial(more_than, directory, before))
            await asyncio.sleep(chance.random())
    stop.set()
    await publishing
    with recorder_process(directory, valkey.url) as process:
        await wait_for(partial(more_than, directory, published - 1))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, STOP_SECONDS) == 0
    assert counted(directory) == published
