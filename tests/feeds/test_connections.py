"""What feeds of live markets share."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pytest_django import Settings

from realtime.feeds.connections import (
    CallableFeed,
    ConnectionLost,
    SymbolNames,
    merged,
    reconnecting,
    slashed,
)
from realtime.feeds.csv_bars import FeedError
from realtime.feeds.runner import FeedRunner
from realtime.feeds.sources import live_feed, own_feed
from realtime.feeds.ticks import Tick
from tests.feeds.test_runner import Recorder

EAST = timezone(timedelta(hours=14))
START = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)


def tick(number: int, symbol: str = "ABC", **fields: Any) -> Tick:
    return Tick(symbol, 10.0 + number, 1.0, START + timedelta(seconds=number), "mine", **fields)


async def ticks(symbols: Sequence[str]) -> AsyncIterator[Tick]:
    """An own feed, as README has it."""
    for number in range(5):
        yield tick(number, symbols[0])


class Own:
    """An own feed as a class, that goes on by itself."""

    source = "own"

    async def ticks(self, symbols: Sequence[str], after: Any) -> AsyncIterator[Tick]:
        yield tick(len(after))


async def numbers(symbols: Sequence[str]) -> AsyncIterator[Any]:
    yield 7


# Connections --------------------------------------------------------------------------------------


async def connections(*lives: Sequence[Any]) -> tuple[list[Any], list[float]]:
    """What comes through these connections, and the pauses between them. A timedelta passes."""
    pauses: list[float] = []
    left = list(lives)
    now = START

    async def connect() -> AsyncGenerator[Any, None]:
        nonlocal now
        for item in left.pop(0):
            if isinstance(item, Exception):
                raise item
            if isinstance(item, timedelta):
                now += item
            else:
                yield item

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    items: list[Any] = []
    found = reconnecting(
        "there", connect, sleep=sleep, chance=lambda: 1.0, clock=lambda: now.timestamp()
    )
    with pytest.raises(FeedError, match="over"):
        await gather(found, items)
    return items, pauses


async def gather(found: AsyncIterator[Any], items: list[Any]) -> None:
    async for item in found:
        items.append(item)


LOST = ConnectionLost("reset by peer")
OVER = FeedError("over")


async def test_after_a_lost_connection_comes_another_one(caplog: pytest.LogCaptureFixture) -> None:
    items, _ = await connections([1, 2, LOST], [3, OVER])
    assert items == [1, 2, 3]
    assert "connection to there lost: reset by peer; again in 0.5 s" in caplog.text
    assert "there is back" in caplog.text


async def test_pauses_grow_until_a_connection_lives() -> None:
    lives = [1, timedelta(seconds=10), LOST]
    _, pauses = await connections([LOST], [LOST], [LOST], lives, [LOST], [OVER])
    assert pauses == [0.5, 1.0, 2.0, 0.5, 1.0]


async def test_pauses_grow_where_each_connection_breaks_after_its_first_item() -> None:
    _, pauses = await connections([1, LOST], [2, LOST], [3, LOST], [4, LOST], [OVER])
    assert pauses == [0.5, 1.0, 2.0, 4.0]


async def test_pauses_grow_where_a_connection_takes_long_and_brings_nothing() -> None:
    silent = [timedelta(seconds=60), LOST]
    assert (await connections(silent, silent, silent, [OVER]))[1] == [0.5, 1.0, 2.0]


async def test_a_connection_that_just_ends_is_made_anew() -> None:
    assert (await connections([1], [2, OVER]))[0] == [1, 2]


async def source(*items: Any) -> AsyncGenerator[Any, None]:
    for item in items:
        await asyncio.sleep(0)
        if isinstance(item, Exception):
            raise item
        yield item


async def test_several_sources_are_one() -> None:
    assert sorted([item async for item in merged([source(1, 2), source(3), source()])]) == [1, 2, 3]


async def test_the_error_of_one_source_ends_all() -> None:
    found = merged([source(1, OVER), source(*range(10**6))])
    async with aclosing(found):
        with pytest.raises(FeedError, match="over"):
            await gather(found, [])


async def test_what_came_before_the_error_is_not_lost() -> None:
    items: list[Any] = []
    with pytest.raises(FeedError, match="over"):
        await gather(merged([source(1, 2, 3, OVER), source()]), items)
    assert items == [1, 2, 3]


def test_names_go_both_ways_and_may_be_overridden() -> None:
    names = SymbolNames.of(["BTC-USD", "AAPL"], {"BTC-USD": "XBT/USD"}, slashed)
    assert names.theirs == {"BTC-USD": "XBT/USD", "AAPL": "AAPL"}
    assert names.ours["XBT/USD"] == "BTC-USD"


# An own feed --------------------------------------------------------------------------------------


async def test_a_function_is_a_feed() -> None:
    feed = own_feed("tests.feeds.test_connections.ticks", named_by="--source")
    found = [tick async for tick in feed.ticks(["ABC"])]
    assert [tick.price for tick in found] == [10.0, 11.0, 12.0, 13.0, 14.0]


async def test_it_is_spared_what_was_published_before_a_restart() -> None:
    feed = CallableFeed(ticks, "mine")
    after = {"ABC": START + timedelta(seconds=2)}
    assert [tick.price async for tick in feed.ticks(["ABC"], after)] == [13.0, 14.0]


async def test_a_class_may_go_on_by_itself() -> None:
    feed = own_feed("tests.feeds.test_connections.Own", named_by="--source")
    assert feed.source == "own"
    assert [tick.price async for tick in feed.ticks(["ABC"], {"ABC": START})] == [11.0]


async def test_what_yields_no_ticks_is_told_so() -> None:
    feed = own_feed("tests.feeds.test_connections.numbers", named_by="--source")
    with pytest.raises(FeedError, match="numbers yielded a int; a feed yields"):
        await anext(feed.ticks(["ABC"]))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (
            "replya",
            "--source='replya' is not a known feed: choose replay, ccxt, alpaca, or",
        ),
        ("nowhere.ticks", r"--source='nowhere.ticks' cannot be used: .*No module named 'nowhere'"),
        ("tests.feeds.test_connections.nothing", "cannot be used: .*nothing"),
        ("tests.feeds.test_connections.START", "is a datetime; it must be an async function ticks"),
    ],
)
def test_a_path_that_is_no_feed_is_named(path: str, says: str) -> None:
    with pytest.raises(FeedError, match=says):
        own_feed(path, named_by="--source")


def test_options_that_a_feed_does_not_have_are_refused(settings: Settings) -> None:
    options: dict[str, Any] = {"exchange": None, "channel": None, "names": {}}
    with pytest.raises(FeedError, match="needs an exchange: --exchange binance"):
        live_feed("ccxt", **options)
    with pytest.raises(FeedError, match="--exchange is for --source ccxt only"):
        live_feed("alpaca", **{**options, "exchange": "binance"})
    with pytest.raises(FeedError, match="has trades only"):
        live_feed("alpaca", **{**options, "channel": "tickers"})


# Trades with ids ----------------------------------------------------------------------------------


class Trades:
    """Trades of one moment, told apart by their ids alone."""

    source = "mine"

    async def ticks(self, symbols: Sequence[str], after: Any = None) -> Any:
        for number in (1, 2, 2, 3, 1, 3, 4):
            yield tick(0, id=str(number))


def runner(recorder: Recorder, **options: Any) -> FeedRunner:
    return FeedRunner(
        feed=Trades(), symbols=["ABC"], predict_every=None, publish=recorder.publish,
        history=recorder.history, **options,
    )  # fmt: skip


def ids(recorder: Recorder) -> list[str]:
    return [data["trade_id"] for _, data in recorder.market]


async def test_a_trade_that_comes_twice_is_published_once() -> None:
    recorder = Recorder()
    await runner(recorder).run()
    assert ids(recorder) == ["1", "2", "3", "4"]


async def test_trades_that_were_published_before_a_restart_are_known() -> None:
    recorder = Recorder()
    recorder.market = [("ABC", tick(0, id=id).as_data()) for id in ("1", "2")]
    await runner(recorder).run()
    assert ids(recorder) == ["1", "2", "3", "4"]


async def test_an_unconfirmed_publication_is_known_by_its_ids() -> None:
    recorder = Recorder()
    recorder.failures = ["unconfirmed", "refused"]
    await runner(recorder, sleep=asyncio.sleep).run()
    assert ids(recorder) == ["1", "2", "3", "4"]


async def test_a_price_that_is_none_is_left_out_with_its_field(
    caplog: pytest.LogCaptureFixture,
) -> None:
    future = datetime.now(UTC) + timedelta(hours=1)

    async def bad(symbols: Sequence[str]) -> AsyncIterator[Tick]:
        yield Tick("ABC", -1.0, 1.0, START, "mine")
        yield Tick("ABC", 1.0, 1.0, future, "mine")
        yield tick(1)

    recorder = Recorder()
    running = runner(recorder)
    running.feed = CallableFeed(bad, "mine")
    await running.run()
    assert len(recorder.market) == 1
    assert "a tick of ABC is left out: price: -1 is not above zero" in caplog.text
    assert "a tick of ABC is left out: timestamp: " in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"price": "ten"}, {"price": None}, {"price": 1e400}, {"volume": math.nan},
        {"timestamp": "noon"}, {"timestamp": datetime(1, 1, 1, tzinfo=EAST)},
        {"symbol": "TSLA"}, {"symbol": None}, {"bar_date": "today"}, {"source": 7},
        {"previous_close": "ten"}, {"open": "ten"},
    ],
)  # fmt: skip
async def test_a_tick_of_anything_costs_the_others_nothing(
    changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def odd(symbols: Sequence[str]) -> AsyncIterator[Tick]:
        for number in range(3):
            yield replace(tick(0), **changes)
            yield tick(number)

    recorder = Recorder()
    running = runner(recorder)
    running.feed = CallableFeed(odd, "mine")
    await running.run()
    assert len(recorder.market) == running.progress.updates == 3
    assert caplog.text.count("is left out") == 1


async def test_a_change_beyond_a_float_is_left_out_of_its_tick() -> None:
    async def jumping(symbols: Sequence[str]) -> AsyncIterator[Tick]:
        yield replace(tick(0), price=1e308, previous_close=1e-308)

    recorder = Recorder()
    running = runner(recorder)
    running.feed = CallableFeed(jumping, "mine")
    await running.run()
    assert "change_percent" not in recorder.market[0][1]
    assert recorder.market[0][1]["price"] == 1e308


async def test_a_history_of_any_shape_is_gone_on_from() -> None:
    odd = {"source": "mine", "timestamp": "9999-12-31T00:00:00Z", "trade_id": [], "price": 1e308}
    recorder = Recorder()
    recorder.market = [("ABC", {**odd, "timestamp": {}}), ("ABC", odd)]
    recorder.failures = ["unconfirmed"]
    await runner(recorder, sleep=asyncio.sleep).run()
    assert ids(recorder)[2:] == ["1", "2", "3", "4"]
