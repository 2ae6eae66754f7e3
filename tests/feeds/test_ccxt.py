"""ccxt against a local server that speaks as Binance does."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import pytest

from realtime.feeds.ccxt import CcxtFeed
from realtime.feeds.csv_bars import FeedError
from realtime.feeds.runner import FeedRunner
from realtime.feeds.ticks import Tick
from tests.conftest import require
from tests.feeds.standins import Binance, binance_ticker, binance_trade
from tests.feeds.test_runner import Recorder
from tests.patience import PATIENCE

NOW = 0


@pytest.fixture(scope="module", autouse=True)
def _now() -> None:
    """When these tests begin: a feed fetches 15 minutes at most, and a run takes longer."""
    global NOW
    NOW = int(time.time() * 1000) - 60_000


NAMES = {"BTC-USD": "BTC/USDT"}


@pytest.fixture(autouse=True, scope="module")
def _extra() -> None:
    require(find_spec("ccxt"), "ccxt is not installed: pip install -r requirements-ccxt.txt")


@pytest.fixture
async def binance() -> AsyncIterator[Binance]:
    server = Binance()
    async with server.running():
        yield server


def feed(binance: Binance, **options: Any) -> CcxtFeed:
    return CcxtFeed(**{"exchange": "binance", "names": NAMES, "config": binance.config, **options})


async def soon(seconds: float) -> None:
    await asyncio.sleep(0)


async def take(ticks: Any, count: int) -> list[Tick]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(ticks) for _ in range(count)]


async def sent(binance: Binance, messages: Sequence[Any], connection: int = 1) -> None:
    await binance.until_connections(connection)
    for message in messages:
        await binance.send(message)


async def test_trades_are_published_under_our_symbol(binance: Binance) -> None:
    sending = asyncio.create_task(sent(binance, [binance_trade(7, "57400.01", time=NOW)]))
    async with aclosing(feed(binance).ticks(["BTC-USD"])) as ticks:
        tick = (await take(ticks, 1))[0]
    await sending
    assert binance.streams == ["btcusdt@trade"]
    assert tick == Tick(
        symbol="BTC-USD", price=57400.01, volume=0.007, source="ccxt:binance", id="7",
        timestamp=datetime.fromtimestamp(NOW / 1000, UTC),
    )  # fmt: skip
    assert tick.as_data()["trade_id"] == "7"


async def test_a_dash_is_a_slash_without_a_map(binance: Binance) -> None:
    messages = [
        binance_trade(1, "1.5", symbol="ETHUSDT", time=NOW),
        binance_trade(2, "2.5", time=NOW),
    ]
    sending = asyncio.create_task(sent(binance, messages))
    symbols = ["BTC-USDT", "ETH/USDT"]
    async with aclosing(feed(binance, names={}).ticks(symbols)) as ticks:
        found = await take(ticks, 2)
    await sending
    assert {tick.symbol for tick in found} == set(symbols)


async def test_tickers_have_bid_ask_and_the_change_of_a_day(binance: Binance) -> None:
    message = binance_ticker("57400.00", time=NOW)
    sending = asyncio.create_task(sent(binance, [message, message]))
    async with aclosing(feed(binance, channel="tickers").ticks(["BTC-USD"])) as ticks:
        tick = (await take(ticks, 1))[0]
    await sending
    data = tick.as_data()
    assert (data["price"], data["bid"], data["ask"]) == (57400.0, 57399.99, 57400.01)
    assert (data["change_percent"], data["volume_24h"]) == (-0.2086, 17351.119)
    assert "volume" not in data
    assert "open" not in data


async def test_a_ticker_that_is_not_newer_is_left_out(binance: Binance) -> None:
    messages = [binance_ticker("1.0", time=NOW), binance_ticker("2.0", time=NOW + 1)]
    sending = asyncio.create_task(sent(binance, messages))
    after = {"BTC-USD": datetime.fromtimestamp(NOW / 1000, UTC)}
    async with aclosing(feed(binance, channel="tickers").ticks(["BTC-USD"], after)) as ticks:
        assert [tick.price for tick in await take(ticks, 1)] == [2.0]
    await sending


async def test_a_connection_that_drops_is_made_anew(
    binance: Binance, caplog: pytest.LogCaptureFixture
) -> None:
    async with aclosing(feed(binance, sleep=soon).ticks(["BTC-USD"])) as ticks:
        first = asyncio.create_task(take(ticks, 1))
        await sent(binance, [binance_trade(1, "1.0", time=NOW)])
        await first
        second = asyncio.create_task(take(ticks, 1))
        await binance.cut()
        await sent(binance, [binance_trade(2, "2.0", time=NOW)], connection=2)
        assert [tick.id for tick in await second] == ["2"]
    assert "connection to binance lost" in caplog.text
    assert "binance is back" in caplog.text


async def test_a_trade_that_comes_again_is_published_once(binance: Binance) -> None:
    recorder = Recorder()
    running = FeedRunner(
        feed=feed(binance, sleep=soon), symbols=["BTC-USD"], predict_every=None,
        publish=recorder.publish, history=recorder.history,
    )  # fmt: skip
    task = asyncio.create_task(running.run())
    trades = [binance_trade(n, f"{n}.0", time=NOW) for n in range(1, 6)]
    await sent(binance, trades[:3])
    await recorder.until(3)
    await binance.cut()
    await sent(binance, trades[1:], connection=2)
    await recorder.until(5)
    running.stop.set()
    await asyncio.wait_for(task, PATIENCE)
    assert [data["trade_id"] for _, data in recorder.market] == ["1", "2", "3", "4", "5"]


async def test_what_was_traded_without_a_connection_is_fetched(binance: Binance) -> None:
    trades = [binance_trade(n, f"{n}.0", time=NOW + n) for n in range(1, 6)]
    async with aclosing(feed(binance, sleep=soon).ticks(["BTC-USD"])) as ticks:
        first = asyncio.create_task(take(ticks, 2))
        await sent(binance, trades[:2])
        assert [tick.id for tick in await first] == ["1", "2"]
        rest = asyncio.create_task(take(ticks, 5))
        binance.recent = trades
        await binance.cut()
        await sent(binance, [trades[4]], connection=2)
        # From the last one on; repeated trades are left out by the publisher.
        assert [tick.id for tick in await rest] == ["2", "3", "4", "5", "5"]


@pytest.mark.parametrize(
    "bad",
    [
        {**binance_trade(1, "1.0", time=NOW), "p": None},
        {"e": "trade", "s": "BTCUSDT"},
        {"e": "news", "text": "?"},
        {"id": 9, "status": 200},
    ],
    ids=["no price", "nothing in it", "unknown", "odd"],
)
async def test_a_bad_message_does_not_stop_the_rest(binance: Binance, bad: Any) -> None:
    good = binance_trade(2, "2.0", time=NOW)
    sending = asyncio.create_task(sent(binance, [bad, good]))
    async with aclosing(feed(binance, sleep=soon).ticks(["BTC-USD"])) as ticks:
        assert [tick.id for tick in await take(ticks, 1)] == ["2"]
    await sending


async def test_a_message_that_kills_the_reader_costs_a_connection(binance: Binance) -> None:
    """ccxt's reader dies silently of text that is not JSON; only the silence tells."""
    async with aclosing(feed(binance, sleep=soon, silence=1.0).ticks(["BTC-USD"])) as ticks:
        found = asyncio.create_task(take(ticks, 1))
        await sent(binance, ["<html>maintenance</html>"])
        await sent(binance, [binance_trade(2, "2.0", time=NOW)], connection=2)
        assert [tick.id for tick in await found] == ["2"]


async def test_a_symbol_that_the_exchange_lacks_is_named(binance: Binance) -> None:
    with pytest.raises(FeedError, match=r"binance has no DOGE-USD \(DOGE/USD\); .* --map"):
        await anext(feed(binance).ticks(["BTC-USD", "DOGE-USD"]))


async def test_two_symbols_that_are_one_there_are_refused(binance: Binance) -> None:
    with pytest.raises(FeedError, match="BTC-USD and BTC-USDT are both BTC/USDT there"):
        await anext(feed(binance).ticks(["BTC-USD", "BTC-USDT"]))


async def test_without_the_extra_its_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt.pro", None)  # as Python marks what cannot be imported
    with pytest.raises(FeedError, match=r"needs ccxt: pip install -r requirements-ccxt"):
        await anext(CcxtFeed(exchange="binance").ticks(["BTC-USD"]))


async def test_an_exchange_that_ccxt_does_not_watch_is_refused() -> None:
    with pytest.raises(FeedError, match=r"'mtgox' is not an exchange .* binance"):
        await anext(CcxtFeed(exchange="mtgox").ticks(["BTC-USD"]))


async def test_a_ticker_of_the_future_keeps_none_of_the_present_out(binance: Binance) -> None:
    messages = [
        binance_ticker("1.00", time=NOW + 10**10),
        binance_ticker("57400.00", time=NOW),
    ]
    sending = asyncio.create_task(sent(binance, messages))
    async with aclosing(feed(binance, channel="tickers").ticks(["BTC-USD"])) as ticks:
        assert (await take(ticks, 1))[0].price == 57400.0
    await sending
