"""`manage.py run_feed` as a process of its own, beside a real Valkey."""

import asyncio
import contextlib
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.core.management import CommandError, call_command
from pytest_django import Settings

from realtime import broadcast
from realtime.delivery.follow import Lost, subscribe
from realtime.feeds.csv_bars import STOCKS, read_bars
from realtime.feeds.replay import Replay
from realtime.streams import Stream
from tests.clients import wait_for
from tests.feeds.clock import Clock
from tests.patience import PATIENCE, STOP_SECONDS
from tests.processes import ROOT, Valkey, process_environment, run_manage

FIRST = date(2008, 1, 1)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    """Forty days of ABC, and a line that is not a row."""
    rows = [f"{FIRST + timedelta(n)},10,12,9,{10 + n % 3},100" for n in range(40)]
    path = tmp_path / "ABC.csv"
    path.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows[:5], "oops", *rows[5:]]))
    return path


@pytest.mark.usefixtures("redis_layer")
async def test_a_file_is_played_once_with_predictions(
    prices: Path, tmp_path: Path, valkey: Valkey
) -> None:
    arguments = ["--csv", str(prices), "--once", "--rate", "50", "--predict-every", "0.1"]
    result = run_manage(tmp_path, "run_feed", *arguments, REDIS_URL=valkey.url)
    assert result.returncode == 0, result.stderr
    assert f"{prices}, line 7: 1 fields, but the header has 6; left out" in result.stderr
    assert re.search(r"finished: .* 100 updates, [1-9]\d* predictions, last ABC", result.stderr)
    assert "Traceback" not in result.stderr
    updates = await broadcast.recent_updates("market-data", "ABC")
    assert len(updates) == 20 + 20 * 4
    assert updates[-1]["bar_date"] == str(FIRST + timedelta(39))
    prediction = (await broadcast.recent_updates("predictions", "ABC"))[-1]
    assert (prediction["model"], prediction["horizon"]) == ("random_walk", 5)


@pytest.mark.usefixtures("redis_layer")
async def test_the_columns_of_a_file_and_what_is_not_used_are_told(
    tmp_path: Path, valkey: Valkey
) -> None:
    path = tmp_path / "ABC.csv"
    path.write_text("Date,Open,High,Low,Close,Volume,adjOpen\n2024-01-02,10,12,9,11,5,1\n")
    arguments = ["--csv", str(path), "--once", "--rate", "1000", "--no-predictions"]
    result = run_manage(tmp_path, "run_feed", *arguments, REDIS_URL=valkey.url)
    assert result.returncode == 0, result.stderr
    assert "volume from 'Volume'; not used: adjOpen" in result.stderr
    assert "adjOpen not used: prices are those of open, high, low and close, and a" in result.stderr


@pytest.fixture
def endless_feed(tmp_path: Path, valkey: Valkey) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_feed", "--no-predictions", "--rate", "20"],
        cwd=ROOT,
        env=process_environment(tmp_path, {"REDIS_URL": valkey.url}),
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate(timeout=STOP_SECONDS)


@pytest.mark.usefixtures("redis_layer")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_finishes_it_cleanly(
    endless_feed: "subprocess.Popen[str]", valkey: Valkey, number: signal.Signals
) -> None:
    client = valkey.client()
    with client.pubsub() as listener:
        listener.psubscribe("*market-data.MSFT")
        while (message := listener.get_message(timeout=PATIENCE)) and message["type"] != "pmessage":
            pass
    client.close()
    assert message, "nothing was published within 30 s"
    endless_feed.send_signal(number)
    assert endless_feed.wait(STOP_SECONDS) == 0
    assert endless_feed.stderr
    assert "finished: " in endless_feed.stderr.read()


@pytest.mark.usefixtures("redis_layer")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--symbols", "AAPL,TSLA"], "no bars for TSLA; available: AAPL, FB, GOOG, IBM, MSFT"),
        (["--symbols", "A APL"], "argument --symbols: 'A APL': symbol may hold"),
        (["--start", "soon"], "argument --start: 'soon' is not a date like 2008-01-02"),
        (["--start", "2020-01-01"], "start 2020-01-01 is after the last bar of 2013-03-01"),
        (["--rate", "0"], "rate is 0.0; it must lie above 0"),
        (["--rate", "2", "--speed", "2"], "--speed: not allowed with argument --rate"),
        (["--predict-every", "0"], "argument --predict-every: '0' is not a number of seconds"),
        (["--horizon", "31"], "argument --horizon: invalid choice: 31"),
        (["--csv", "/nowhere.csv"], "/nowhere.csv cannot be read"),
        (["--speed", "0"], "speed is 0.0; it must lie above 0"),
        (["--loop", "--once"], "argument --once: not allowed with argument --loop"),
        (
            ["--source", "replya"],
            "--source='replya' is not a known feed: choose replay, ccxt, alpaca",
        ),
        (["--source", "nowhere.ticks"], "--source='nowhere.ticks' cannot be used"),
        (["--source", "ccxt"], "--source ccxt needs an exchange: --exchange binance"),
        (["--source", "ccxt", "--exchange", "binance"], "needs symbols: --symbols BTC-USD"),
        (["--map", "BTC-USD"], "argument --map: 'BTC-USD' is not like BTC-USD=BTC/USDT"),
        (["--source", "alpaca", "--symbols", "AAPL"], "needs ALPACA_API_KEY and ALPACA_SECRET_KEY"),
    ],
)
def test_a_bad_argument_is_named(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError) as info:
        call_command("run_feed", *arguments)
    assert says in str(info.value)


@pytest.mark.usefixtures("redis_layer")
def test_the_setting_names_the_feed_too(settings: Settings) -> None:
    settings.REALTIME_FEED = "nowhere.ticks"
    with pytest.raises(CommandError, match=r"^REALTIME_FEED='nowhere\.ticks' cannot be used"):
        call_command("run_feed", "--symbols", "ABC")


@pytest.mark.usefixtures("redis_layer")
def test_an_own_feed_is_published(settings: Settings) -> None:
    settings.REALTIME_FEED = "tests.feeds.test_connections.ticks"
    call_command("run_feed", "--symbols", "ABC", "--no-predictions")
    updates = async_to_sync(broadcast.recent_updates)("market-data", "ABC")
    assert [data["price"] for data in updates] == [10.0, 11.0, 12.0, 13.0, 14.0]


@contextlib.contextmanager
def feed_process(directory: Path, url: str) -> Iterator["subprocess.Popen[str]"]:
    """A replay of two symbols, fast enough for a lap in a few seconds."""
    arguments = ["--no-predictions", "--symbols", "AAPL,FB", "--rate", "150"]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_feed", *arguments],
        cwd=ROOT,
        env=process_environment(directory, {"REDIS_URL": url}),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=STOP_SECONDS)


@pytest.mark.slow
@pytest.mark.usefixtures("redis_layer")
async def test_a_feed_killed_at_any_moment_repeats_no_tick_and_leaves_none_out(
    tmp_path: Path, valkey: Valkey
) -> None:
    symbols = ["AAPL", "FB"]
    got: dict[str, list[Any]] = {symbol: [] for symbol in symbols}
    lost: list[Lost] = []

    async def follow() -> None:
        streams = [Stream("market-data", symbol) for symbol in symbols]
        async with aclosing(subscribe(streams)) as items:
            async for item in items:
                if isinstance(item, Lost):
                    lost.append(item)
                else:
                    got[item.stream.symbol].append((item.offset, item.data))

    following = asyncio.create_task(follow())
    chance = random.Random(3)

    async def more_than(before: int) -> bool:
        return len(got["AAPL"]) > before

    async def everything_read() -> bool:
        layer: Any = get_channel_layer()
        heads = [
            (await layer.loop_layer.read_newest(Stream("market-data", symbol), 1)).offset
            for symbol in symbols
        ]
        return heads == [len(got[symbol]) for symbol in symbols]

    for _ in range(3):
        before = len(got["AAPL"])
        with feed_process(tmp_path, valkey.url):
            # The first kill falls into the backfill, the others anywhere.
            await wait_for(partial(more_than, before), every=0.001)
            await asyncio.sleep(chance.random() * 1.5 if before else 0)
        await wait_for(everything_read)
    with feed_process(tmp_path, valkey.url) as process:
        await wait_for(partial(more_than, len(got["AAPL"])))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, STOP_SECONDS) == 0
    await wait_for(everything_read)
    following.cancel()
    assert lost == []
    await check_sequence(got)


async def check_sequence(got: dict[str, list[Any]]) -> None:
    """Offsets 1, 2, 3, ... with the ticks of the replay, each once."""
    clock = Clock()
    file = read_bars(STOCKS)
    expected: dict[str, list[Any]] = {symbol: [] for symbol in got}
    feed = Replay(bars=file.bars, clock=clock, sleep=clock.sleep)
    async with aclosing(feed.ticks(list(got))) as ticks:
        async for tick in ticks:
            expected[tick.symbol].append(tick.as_data())
            if all(len(expected[symbol]) >= len(got[symbol]) for symbol in got):
                break
    for symbol, updates in got.items():
        assert [offset for offset, _ in updates] == list(range(1, len(updates) + 1))
        assert [data for _, data in updates] == expected[symbol][: len(updates)]


@pytest.mark.usefixtures("redis_layer")
def test_a_predictor_that_cannot_be_loaded_is_named(settings: Settings) -> None:
    settings.REALTIME_PREDICTOR = "nowhere.predictor"
    with pytest.raises(CommandError, match=r"^REALTIME_PREDICTOR='nowhere\.predictor' cannot be"):
        call_command("run_feed")


def test_a_channel_layer_that_reaches_nobody_is_refused() -> None:
    with pytest.raises(CommandError, match="no client would receive the feed"):
        call_command("run_feed")
