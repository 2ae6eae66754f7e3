"""Trades that must not move the last price, or are taken back: from Alpaca's stream to the bars."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from channels.layers import get_channel_layer

from realtime import broadcast
from realtime.bars.recorder import run_recorder
from realtime.broadcast import abroadcast_many, market_data_update
from realtime.feeds.alpaca import AlpacaFeed
from realtime.feeds.connections import CallableFeed
from realtime.feeds.runner import FeedRunner
from realtime.feeds.ticks import Correction, Tick
from realtime.models import Bar
from realtime.predictions.prices import gathered
from tests.clients import wait_for
from tests.feeds.standins import Alpaca, alpaca_cancel, alpaca_correction, alpaca_trade
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
# In the middle of a minute that is over.
START = datetime.min


@pytest.fixture(scope="module", autouse=True)
def _start() -> None:
    """When these tests begin: a feed fetches 15 minutes at most, and a run takes longer."""
    global START
    START = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)


def at(second: float) -> str:
    return (START + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")


def trade(id: int, price: float, second: float | None = None, **more: Any) -> dict[str, Any]:
    return alpaca_trade(id, price, time=at(id if second is None else second), **more)


@asynccontextmanager
async def running(work: Any, stop: asyncio.Event) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
        assert not task.done(), task
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE)


@pytest.fixture
async def alpaca() -> AsyncIterator[Alpaca]:
    server = Alpaca()
    async with server.running():
        yield server


@pytest.fixture
async def recorded(alpaca: Alpaca, redis_layer: None) -> AsyncIterator[Alpaca]:
    """A feed from Alpaca, and a recorder."""
    feed = AlpacaFeed(
        key=alpaca.key, secret=alpaca.secret, url=alpaca.url,
        rest_url=alpaca.url.replace("ws:", "http:"),
    )  # fmt: skip
    stop = asyncio.Event()
    runner = FeedRunner(feed=feed, symbols=["AAPL"], predict_every=None, stop=stop)
    async with running(runner.run(), stop), running(run_recorder(stop, flush_every=0.05), stop):
        await alpaca.until_connections(1)
        yield alpaca


async def prices() -> list[float | None]:
    return [data.get("price") for data in await broadcast.recent_updates("market-data", "AAPL")]


async def until_bar(interval: str = "1m", **values: float) -> None:
    found: dict[str, Any] = {}

    async def right() -> bool:
        async for bar in Bar.objects.filter(interval=interval).order_by("-start"):
            found.update({name: getattr(bar, name) for name in values})
            return found == values
        return False

    try:
        await wait_for(right)
    except TimeoutError:
        raise AssertionError(f"{found}, not {values}; published: {await prices()}") from None


async def test_trades_of_other_prices_and_ones_taken_back_leave_price_and_bar_alone(
    recorded: Alpaca,
) -> None:
    for item in [
        trade(1, 150.00),
        trade(2, 112.50, conditions="@WI"),
        trade(3, 15.00),
        alpaca_cancel(3, 15.00, time=at(4)),
        alpaca_correction(1, 150.00, 150.05, time=at(5)),
        trade(6, 150.10),
    ]:
        await recorded.send([item])
    for interval in ("1m", "1d"):
        await until_bar(interval, open=150.0, high=150.1, low=150.0, close=150.1, volume=2.0)
    assert await prices() == [150.0, 150.1]


async def test_a_published_trade_that_is_taken_back_leaves_the_bar(recorded: Alpaca) -> None:
    await recorded.send([trade(1, 150.0), trade(2, 140.0), trade(3, 145.0)])
    await until_bar(low=140.0, volume=3.0)
    await recorded.send([alpaca_cancel(2, 140.0, time=at(9))])
    for interval in ("1m", "1d"):
        await until_bar(interval, open=150.0, high=150.0, low=145.0, close=145.0, volume=2.0)
    await recorded.send([trade(4, 151.0)])
    await until_bar(high=151.0, low=145.0, close=151.0, volume=3.0)
    assert await prices() == [150.0, 140.0, 145.0, 145.0, 151.0]


async def test_the_last_price_goes_back_to_the_one_before(recorded: Alpaca) -> None:
    await recorded.send([trade(1, 150.0), trade(2, 140.0)])
    await until_bar(close=140.0)
    await recorded.send([alpaca_cancel(2, 140.0, time=at(9))])
    await until_bar(low=150.0, close=150.0, volume=1.0)
    newest = (await broadcast.recent_updates("market-data", "AAPL"))[-1]
    assert newest == {
        "price": 150.0, "volume": 0, "timestamp": at(1).replace("Z", ".000Z"),
        "source": "alpaca:iex", "corrects": {"trade_id": "D2"},
    }  # fmt: skip


async def test_a_published_trade_that_is_corrected_has_its_right_price_in_the_bar(
    recorded: Alpaca,
) -> None:
    await recorded.send([trade(1, 150.0), trade(2, 140.0), trade(3, 150.0)])
    await until_bar(low=140.0)
    await recorded.send([alpaca_correction(2, 140.0, 149.0, time=at(9))])
    await until_bar(low=149.0, high=150.0, close=150.0, volume=4.0)
    assert 149.0 not in await prices()


async def test_a_correction_to_what_is_no_price_takes_the_trade_back(recorded: Alpaca) -> None:
    await recorded.send([trade(1, 150.0), trade(2, 149.0), trade(3, 150.0)])
    await until_bar(low=149.0)
    await recorded.send([alpaca_correction(2, 149.0, 149.0, time=at(9), conditions="@W")])
    await until_bar(low=150.0, volume=2.0)


async def test_a_bar_of_nothing_but_a_trade_that_is_taken_back_is_gone(recorded: Alpaca) -> None:
    await recorded.send([trade(1, 150.0), trade(2, 140.0, second=61)])
    await until_bar(close=140.0)
    await recorded.send([alpaca_cancel(2, 140.0, time=at(70))])
    for interval in ("1m", "1d"):
        await until_bar(interval, low=150.0, volume=1.0)
    assert await Bar.objects.filter(interval="1m").acount() == 1


async def test_a_trade_that_nobody_heard_of_is_taken_back_in_silence(recorded: Alpaca) -> None:
    await recorded.send([alpaca_cancel(9, 15.0, time=at(1)), trade(2, 150.0)])
    await until_bar(low=150.0)
    assert await prices() == [150.0]


@pytest.mark.parametrize("bad", [{"cp": 0}, {"op": 0, "cp": 0}, {"cs": -1}, {"cp": float("nan")}])
async def test_a_correction_to_what_cannot_be_traded_is_left_out(
    recorded: Alpaca, caplog: pytest.LogCaptureFixture, bad: dict[str, Any]
) -> None:
    await recorded.send([trade(1, 150.0), trade(2, 149.0)])
    await until_bar(low=149.0, volume=2.0)
    await recorded.send(
        [{**alpaca_correction(2, 149.0, 120.0, time=at(9)), **bad}, trade(3, 151.0)]
    )
    await until_bar(low=149.0, high=151.0, volume=3.0)
    assert await prices() == [150.0, 149.0, 151.0]
    assert "a tick of AAPL is left out: corrects: " in caplog.text


@pytest.mark.parametrize("bad", [{"T": "x"}, {"T": "c", "S": "AAPL"}, {"T": "x", "S": [], "i": 1}])
async def test_a_correction_of_anything_stops_nothing(recorded: Alpaca, bad: Any) -> None:
    await recorded.send([bad, trade(1, 150.0)])
    await until_bar(low=150.0)


async def test_what_was_taken_back_while_there_was_no_connection_is_known(
    recorded: Alpaca,
) -> None:
    await recorded.send([trade(1, 150.0), trade(2, 140.0)])
    await until_bar(low=140.0)
    recorded.recent = [
        {**trade(2, 140.0), "u": "canceled"},
        {**trade(3, 15.0), "u": "incorrect"},
        {**trade(4, 151.0), "u": "corrected"},
        trade(5, 100.0, conditions="@W"),
    ]
    await recorded.cut()
    await until_bar(low=150.0, high=151.0, close=151.0, volume=2.0)
    assert 15.0 not in await prices()


# Without a feed -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("redis_layer")
async def test_one_whose_minute_is_not_held_any_more_is_told(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REALTIME_HISTORY_LENGTH = {"market-data": 3}
    stop = asyncio.Event()
    async with running(run_recorder(stop, flush_every=0.05), stop):
        for number in range(1, 7):
            data = {"price": 100, "volume": 1, "timestamp": at(number), "trade_id": str(number)}
            await abroadcast_many([market_data_update("AAPL", data)])
            await until_bar(volume=float(number))
        corrections = ({"trade_id": "6"}, {"trade_id": "1"}, {}, {"trade_id": []}, 7)
        await abroadcast_many(
            [market_data_update("AAPL", {"corrects": each}) for each in corrections]
        )
        await abroadcast_many([market_data_update("AAPL", {**data, "trade_id": "7"})])
        await until_bar(volume=7.0)
    assert (
        "an update of AAPL does not count towards a bar: corrects: its history does not hold"
        in caplog.text
    )
    await get_channel_layer().flush()  # type: ignore[union-attr]


@pytest.mark.usefixtures("redis_layer")
@pytest.mark.parametrize("wrong", [{"price": 0}, {"price": "9"}, {"price": 9, "volume": -1}])
async def test_a_bad_correction_is_told_and_moves_no_bar(
    caplog: pytest.LogCaptureFixture, wrong: dict[str, Any]
) -> None:
    stop = asyncio.Event()
    async with running(run_recorder(stop, flush_every=0.05), stop):
        for corrects in ({"trade_id": "1", **wrong}, {"trade_id": "2", "price": 11.0}):
            id = corrects["trade_id"]
            data = {"price": 10, "volume": 1, "timestamp": at(int(id)), "trade_id": id}
            await abroadcast_many([market_data_update("AAPL", data)])
            (said,) = await abroadcast_many([market_data_update("AAPL", {"corrects": corrects})])
            assert ("corrects" in said.warnings) is (id == "1")
        await until_bar(low=10.0, high=11.0, volume=2.0)
    assert "an update of AAPL does not count towards a bar: corrects: " in caplog.text
    held = await broadcast.recent_updates("market-data", "AAPL")
    assert gathered(held).closes == [10.0, 11.0]


@pytest.mark.usefixtures("redis_layer")
async def test_an_own_feed_may_take_trades_back() -> None:
    async def ticks(symbols: Sequence[str]) -> AsyncIterator[Tick | Correction]:
        for number, price in enumerate((10.0, 99.0)):
            moment = START + timedelta(seconds=number)
            yield Tick("AAPL", price, 1.0, moment, "mine", id=str(number))
        yield Correction("AAPL", "1", "mine")
        yield Correction("MSFT", "1", "mine")

    feed = CallableFeed(ticks, "mine")
    await FeedRunner(feed=feed, symbols=["AAPL"], predict_every=None).run()
    assert await prices() == [10.0, 99.0, 10.0]
    held = await broadcast.recent_updates("market-data", "AAPL")
    assert gathered(held).closes == [10.0]
