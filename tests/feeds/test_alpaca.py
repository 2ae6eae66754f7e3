"""Alpaca's streams, from a local server that speaks as theirs does."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from realtime import broadcast
from realtime.feeds.alpaca import CRYPTO, AlpacaFeed
from realtime.feeds.csv_bars import FeedError
from realtime.feeds.runner import FeedRunner
from realtime.feeds.ticks import Tick
from tests.clients import wait_for
from tests.feeds.standins import Alpaca, alpaca_trade
from tests.feeds.test_runner import Recorder
from tests.patience import PATIENCE, STOP_SECONDS
from tests.processes import ROOT, Valkey, process_environment

NOW = datetime.min
TIME = ""


@pytest.fixture(scope="module", autouse=True)
def _now() -> None:
    """When these tests begin: a feed fetches 15 minutes at most, and a run takes longer."""
    global NOW, TIME
    NOW = datetime.now(UTC).replace(microsecond=208_000) - timedelta(minutes=1)
    TIME = f"{NOW:%Y-%m-%dT%H:%M:%S}.208123456Z"


@pytest.fixture
async def alpaca() -> AsyncIterator[Alpaca]:
    server = Alpaca()
    async with server.running():
        yield server


async def soon(seconds: float) -> None:
    await asyncio.sleep(0)


def feed(alpaca: Alpaca, **options: Any) -> AlpacaFeed:
    return AlpacaFeed(
        **{
            "key": alpaca.key,
            "secret": alpaca.secret,
            "url": alpaca.url,
            "rest_url": alpaca.url.replace("ws:", "http:"),
            "sleep": soon,
            **options,
        }
    )


async def take(ticks: Any, count: int) -> list[Tick]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(ticks) for _ in range(count)]


async def sent(alpaca: Alpaca, *messages: Any, connection: int = 1) -> None:
    await alpaca.until_connections(connection)
    for message in messages:
        await alpaca.send(message if isinstance(message, str) else [message])


async def test_trades_of_a_share_become_ticks(alpaca: Alpaca) -> None:
    async with aclosing(feed(alpaca).ticks(["AAPL"])) as ticks:
        found = asyncio.create_task(take(ticks, 1))
        await sent(alpaca, alpaca_trade(96921, 126.55, time=TIME))
        tick = (await found)[0]
    assert alpaca.paths == ["/v2/iex"]
    assert (tick.symbol, tick.price, tick.volume, tick.id) == ("AAPL", 126.55, 1.0, "D96921")
    assert tick.timestamp == NOW + timedelta(microseconds=123)
    assert tick.as_data()["source"] == "alpaca:iex"


async def test_crypto_has_a_stream_of_its_own(alpaca: Alpaca) -> None:
    async with aclosing(feed(alpaca).ticks(["AAPL", "BTC-USD"])) as ticks:
        found = asyncio.create_task(take(ticks, 2))
        await alpaca.until_connections(2)
        trade = alpaca_trade(7, 57400.5, symbol="BTC/USD", time=TIME)
        await alpaca.send([trade, alpaca_trade(8, 126.5, time=TIME)])
        ids = {(tick.symbol, tick.id) for tick in await found}
    assert ids == {("BTC-USD", "7"), ("AAPL", "D8")}
    assert sorted(alpaca.paths) == [CRYPTO, "/v2/iex"]


async def test_a_share_with_a_dash_is_mapped(alpaca: Alpaca) -> None:
    names = {"BRK-B": "BRK.B"}
    async with aclosing(feed(alpaca, names=names).ticks(["BRK-B"])) as ticks:
        found = asyncio.create_task(take(ticks, 1))
        await sent(alpaca, alpaca_trade(1, 400.0, symbol="BRK.B", time=TIME))
        assert (await found)[0].symbol == "BRK-B"


async def test_a_message_of_more_than_a_megabyte_is_read(alpaca: Alpaca) -> None:
    trades = [alpaca_trade(n, 100.0, time=TIME) for n in range(12_000)]
    async with aclosing(feed(alpaca).ticks(["AAPL"])) as ticks:
        found = asyncio.create_task(take(ticks, len(trades)))
        await alpaca.until_connections(1)
        assert len(json.dumps(trades)) > 2**20
        await alpaca.send(trades)
        assert [tick.id for tick in await found][-1] == "D11999"
    assert alpaca.connections == 1


async def test_a_dropped_connection_costs_no_trade_and_repeats_none(
    alpaca: Alpaca, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the stream sends it again, or it was traded while there was no stream."""
    recorder = Recorder()
    running = FeedRunner(
        feed=feed(alpaca), symbols=["AAPL"], predict_every=None,
        publish=recorder.publish, history=recorder.history,
    )  # fmt: skip
    task = asyncio.create_task(running.run())
    trades = [alpaca_trade(n, 100.0 + n, time=TIME) for n in range(1, 6)]
    await sent(alpaca, *trades[:2])
    await recorder.until(2)
    alpaca.recent = trades[:4]
    await alpaca.cut()
    await sent(alpaca, *trades[1:], connection=2)
    await recorder.until(5)
    running.stop.set()
    await asyncio.wait_for(task, PATIENCE)
    assert [data["trade_id"] for _, data in recorder.market] == ["D1", "D2", "D3", "D4", "D5"]
    assert len(alpaca.queries) == 4, "one page after the other"
    assert alpaca.queries[0]["symbols"] == ["AAPL"]
    assert "connection to Alpaca (/v2/iex) lost" in caplog.text
    assert "Alpaca (/v2/iex) is back" in caplog.text


@pytest.mark.parametrize(
    "bad",
    [
        "<html>", "{}", "[1]", '[{"T":"t","S":"AAPL","i":1}]', '[{"T":"t","S":"TSLA","i":1}]',
        '[{"T":"t","S":"AAPL","i":1,"p":"a","s":1,"t":"2024-01-01T00:00:00Z"}]',
        '[{"T":"t","S":"AAPL","i":1,"p":1,"s":1,"t":"noon"}]', '[{"T":"q","S":"AAPL"}]',
    ],
)  # fmt: skip
async def test_a_bad_message_does_not_stop_the_rest(alpaca: Alpaca, bad: str) -> None:
    async with aclosing(feed(alpaca).ticks(["AAPL"])) as ticks:
        found = asyncio.create_task(take(ticks, 1))
        await sent(alpaca, bad, alpaca_trade(2, 2.0, time=TIME))
        assert (await found)[0].id == "D2"
    assert alpaca.connections == 1


async def test_without_an_answer_about_the_past_the_stream_goes_on(
    alpaca: Alpaca, caplog: pytest.LogCaptureFixture
) -> None:
    away = feed(alpaca, rest_url="http://127.0.0.1:1")
    async with aclosing(away.ticks(["AAPL"], {"AAPL": NOW})) as ticks:
        found = asyncio.create_task(take(ticks, 1))
        await sent(alpaca, alpaca_trade(2, 2.0, time=TIME))
        assert (await found)[0].id == "D2"
    assert "missed trades not fetched from Alpaca" in caplog.text


async def test_a_full_account_is_waited_out(alpaca: Alpaca) -> None:
    alpaca.refusals = [{"T": "error", "code": 406, "msg": "connection limit exceeded"}]
    async with aclosing(feed(alpaca).ticks(["AAPL"])) as ticks:
        found = asyncio.create_task(take(ticks, 1))
        await sent(alpaca, alpaca_trade(2, 2.0, time=TIME))
        assert (await found)[0].id == "D2"
    assert len(alpaca.paths) == 2


async def test_keys_that_are_refused_end_it_and_are_in_no_message(
    alpaca: Alpaca, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = feed(alpaca, secret="another-secret")
    with pytest.raises(FeedError) as info:
        await anext(wrong.ticks(["AAPL"]))
    assert str(info.value) == (
        "Alpaca says: auth failed (402); check ALPACA_API_KEY and ALPACA_SECRET_KEY"
    )
    for text in (str(info.value), repr(wrong), caplog.text):
        assert alpaca.key not in text
        assert "another-secret" not in text


async def test_what_the_account_may_not_have_is_said(alpaca: Alpaca) -> None:
    alpaca.refusals = [{"T": "error", "code": 409, "msg": "insufficient subscription"}]
    with pytest.raises(FeedError, match=r"insufficient subscription \(409\)"):
        await anext(feed(alpaca).ticks(["AAPL"]))


@contextlib.contextmanager
def feed_process(directory: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    arguments = ["--source", "alpaca", "--symbols", "AAPL", "--no-predictions"]
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_feed", *arguments],
        cwd=ROOT,
        env=process_environment(directory, environment),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=STOP_SECONDS)


@pytest.mark.usefixtures("redis_layer")
async def test_a_killed_feed_publishes_no_trade_twice_after_its_restart(
    alpaca: Alpaca, tmp_path: Path, valkey: Valkey
) -> None:
    environment = {
        "REDIS_URL": valkey.url, "ALPACA_URL": alpaca.url,
        "ALPACA_REST_URL": alpaca.url.replace("ws:", "http:"),
        "ALPACA_API_KEY": alpaca.key, "ALPACA_SECRET_KEY": alpaca.secret,
    }  # fmt: skip
    trades = [alpaca_trade(n, 100.0 + n, time=TIME) for n in range(1, 6)]

    async def published(count: int) -> bool:
        return len(await broadcast.recent_updates("market-data", "AAPL")) >= count

    with feed_process(tmp_path, **environment):
        await sent(alpaca, *trades[:3])
        await wait_for(partial(published, 3))
    with feed_process(tmp_path, **environment) as process:
        await sent(alpaca, *trades, connection=2)
        await wait_for(partial(published, 5))
        process.send_signal(signal.SIGTERM)
        output = (await asyncio.to_thread(process.communicate, timeout=STOP_SECONDS))[1]
    assert process.returncode == 0
    assert "finished: " in output
    assert alpaca.key not in output
    assert alpaca.secret not in output
    held = await broadcast.recent_updates("market-data", "AAPL")
    assert [data["trade_id"] for data in held] == ["D1", "D2", "D3", "D4", "D5"]


@pytest.mark.parametrize("missing", ["key", "secret"])
async def test_without_keys_the_variables_are_named(alpaca: Alpaca, missing: str) -> None:
    with pytest.raises(FeedError, match="needs ALPACA_API_KEY and ALPACA_SECRET_KEY"):
        await anext(feed(alpaca, **{missing: ""}).ticks(["AAPL"]))
