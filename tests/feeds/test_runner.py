"""The feed against real channel layers; where time or failures matter, against a recorder."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from realtime import broadcast
from realtime.broadcast import Broadcast, PublishFailed
from realtime.feeds.csv_bars import DailyBar, FeedError
from realtime.feeds.replay import Replay
from realtime.feeds.runner import FeedRunner
from realtime.predictions.predictors import Prediction
from realtime.protocol import update_data
from realtime.standalone import valkey
from tests.feeds.clock import Clock
from tests.patience import PATIENCE

FIRST = date(2008, 1, 1)
SYMBOLS = ["AAPL", "MSFT"]
DAYS = 60
# A lap of DAYS bars and two symbols: 30 bars each at once, four ticks for each of the others.
LAP = 2 * 30 + 2 * 30 * 4


def bars(count: int = DAYS) -> list[DailyBar]:
    """No two neighbouring closes are equal, no two neighbouring bars either."""
    return [
        DailyBar(FIRST + timedelta(n), 100.0, 110.0, 90.0, 100.0 + n % 5, 1000 + n)
        for n in range(count)
    ]


class Recorder:
    """What was published, kept as a channel layer keeps it."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.market: list[tuple[str, dict[str, Any]]] = []
        self.predictions: list[tuple[str, dict[str, Any], int]] = []
        self.failures: list[str] = []

    async def publish(self, updates: Sequence[Broadcast]) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if failure == "refused":
            raise PublishFailed("Connection refused")
        self.calls.append(len(updates))
        for update in updates:
            symbol, data = update.stream.symbol, update_data(update.body)
            if update.stream.channel == "market-data":
                self.market.append((symbol, data))
            else:
                self.predictions.append((symbol, data, len(self.market)))
        if failure == "unconfirmed":
            raise PublishFailed("Timeout reading from socket")

    async def history(self, symbol: str, limit: int) -> Sequence[Mapping[str, Any]]:
        return [data for held, data in self.market if held == symbol][-limit:]

    async def until(self, count: int) -> None:
        """Return once so many ticks are published."""
        async with asyncio.timeout(PATIENCE):
            while len(self.market) < count:  # noqa: ASYNC110 (nobody else would set an event)
                await asyncio.sleep(0)

    @property
    def ticks(self) -> list[tuple[str, str]]:
        return [(symbol, data["timestamp"]) for symbol, data in self.market]


async def come_true(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (nobody else would set an event)
            await asyncio.sleep(0.01)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def replay(**options: Any) -> Replay:
    held = {symbol: bars() for symbol in SYMBOLS}
    return Replay(**{"bars": held, "rate": 5000.0, "loop": False, **options})


def runner(recorder: Recorder, feed: Any = None, **options: Any) -> FeedRunner:
    return FeedRunner(
        **{
            "feed": feed or replay(),
            "symbols": SYMBOLS,
            "publish": recorder.publish,
            "history": recorder.history,
            "predict_every": None,
            **options,
        }
    )


async def whole_lap() -> list[tuple[str, str]]:
    ticks = [tick async for tick in replay().ticks(SYMBOLS)]
    return [(tick.symbol, tick.as_data()["timestamp"]) for tick in ticks]


async def test_every_tick_is_published_once_and_in_order(recorder: Recorder) -> None:
    running = runner(recorder)
    await running.run()
    assert recorder.ticks == await whole_lap()
    assert running.progress.updates == len(recorder.market) == LAP


async def test_what_is_there_at_once_goes_out_together(recorder: Recorder) -> None:
    clock = Clock()
    await runner(recorder, replay(rate=2.0, clock=clock, sleep=clock.sleep)).run()
    assert recorder.calls[0] == 2 * 30 + 1
    assert set(recorder.calls[1:]) == {1}


async def test_an_outage_loses_no_tick_and_repeats_none(recorder: Recorder) -> None:
    recorder.failures = ["refused"] * 5
    await runner(recorder, sleep=Clock().sleep).run()
    assert recorder.ticks == await whole_lap()


async def test_a_publication_that_was_not_confirmed_is_not_repeated(recorder: Recorder) -> None:
    recorder.failures = ["unconfirmed", "refused"]
    await runner(recorder, sleep=Clock().sleep).run()
    assert recorder.ticks == await whole_lap()


async def test_a_killed_feed_continues_where_its_streams_end(recorder: Recorder) -> None:
    first = asyncio.create_task(runner(recorder, replay(rate=1000.0)).run())
    await recorder.until(LAP // 2)
    first.cancel()
    await asyncio.wait([first])
    assert len(recorder.market) < LAP
    await runner(recorder).run()
    assert recorder.ticks == await whole_lap()


async def test_without_resume_it_starts_from_the_beginning(recorder: Recorder) -> None:
    for _ in range(2):
        await runner(recorder, resume=False).run()
    assert recorder.ticks == 2 * await whole_lap()


async def test_stop_ends_a_feed_that_has_no_end(recorder: Recorder) -> None:
    running = runner(recorder, replay(loop=True))
    task = asyncio.create_task(running.run())
    await recorder.until(2 * LAP)
    running.stop.set()
    await asyncio.wait_for(task, PATIENCE)
    assert running.progress.updates == len(recorder.market)


async def test_stop_before_the_first_tick_ends_it_too(recorder: Recorder) -> None:
    running = runner(recorder, replay(loop=True))
    running.stop.set()
    await asyncio.wait_for(running.run(), PATIENCE)


async def test_stop_ends_a_feed_whose_backend_is_away(recorder: Recorder) -> None:
    recorder.failures = ["refused"] * 10**6
    running = runner(recorder, replay(loop=True))
    asyncio.get_running_loop().call_later(0.05, running.stop.set)
    await asyncio.wait_for(running.run(), PATIENCE)
    assert recorder.market == []


async def test_predictions_come_for_each_symbol_from_published_prices_only(
    recorder: Recorder,
) -> None:
    feed = replay(rate=200.0)
    await runner(recorder, feed, predict_every=0.02, horizon=5).run()
    assert {symbol for symbol, _, _ in recorder.predictions} == set(SYMBOLS)
    for symbol, prediction, published in recorder.predictions:
        known = {
            data["timestamp"]: data["price"]
            for held, data in recorder.market[:published]
            if held == symbol
        }
        assert prediction["last_price"] == known[prediction["timestamp"]]
        assert (prediction["horizon"], prediction["source"]) == (5, "replay")


async def test_nothing_new_is_nothing_to_predict(recorder: Recorder) -> None:
    class Held(Replay):
        async def ticks(self, symbols: Any, after: Any = None) -> Any:
            async for tick in replay().ticks(symbols):
                if tick.backfill:
                    yield tick
            await come_true(lambda: len(recorder.predictions) >= len(SYMBOLS))
            await asyncio.sleep(0.3)

    await runner(recorder, Held(bars={}), predict_every=0.1).run()
    assert sorted(symbol for symbol, _, _ in recorder.predictions) == SYMBOLS


async def end_while_predicting(turn: int) -> None:
    """Run a feed that ends in this turn of the loop after a prediction begins to be sent."""
    predicting = asyncio.Event()

    async def publish(updates: Sequence[Broadcast]) -> None:
        if updates[0].stream.channel == "predictions":
            predicting.set()
        await broadcast.abroadcast_many(updates)

    async def store(symbol: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return data

    class Ends(Replay):
        async def ticks(self, symbols: Any, after: Any = None) -> Any:
            async for tick in replay().ticks(symbols):
                if tick.backfill:
                    yield tick
            await predicting.wait()
            for _ in range(turn):
                await asyncio.sleep(0)

    options = {"publish": publish, "store": store, "predict_every": 0.001, "resume": False}
    await FeedRunner(feed=Ends(bars={}), symbols=SYMBOLS, **options).run()


@pytest.mark.usefixtures("redis_layer")
async def test_a_feed_that_ends_while_a_prediction_is_sent_ends_at_any_turn_of_the_loop() -> None:
    for turn in range(20):
        await asyncio.wait_for(end_while_predicting(turn), PATIENCE)


async def test_stop_ends_a_feed_that_loses_a_cancellation(recorder: Recorder) -> None:
    class Deaf(Replay):
        async def ticks(self, symbols: Any, after: Any = None) -> Any:
            async for tick in replay().ticks(symbols):
                yield tick
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            await asyncio.sleep(60)

    running = runner(recorder, Deaf(bars={}))
    task = asyncio.create_task(running.run())
    await recorder.until(LAP)
    running.stop.set()
    await asyncio.wait_for(task, PATIENCE)


async def test_prices_that_do_not_suffice_are_told_once(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [text for text in caplog.messages if "not enough prices for AAPL" in text]

    class Held(Replay):
        async def ticks(self, symbols: Any, after: Any = None) -> Any:
            async for tick in replay(bars={"AAPL": bars(20)}).ticks(symbols):
                yield tick
            await come_true(told)
            await asyncio.sleep(0.1)

    await runner(recorder, Held(bars={}), symbols=["AAPL"], predict_every=0.01).run()
    assert len(told()) == 1


async def test_a_feed_that_fails_says_so(recorder: Recorder) -> None:
    with pytest.raises(FeedError, match="no bars for TSLA; available: AAPL, MSFT"):
        await runner(recorder, symbols=["TSLA"]).run()


async def test_a_tick_that_must_not_be_published_does_not_stop_the_rest(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    broken = DailyBar(FIRST, 100.0, float("inf"), 90.0, 100.0, 1000)
    feed = replay(bars={"AAPL": [broken, *bars()[1:]]}, start=FIRST)
    await runner(recorder, feed, symbols=["AAPL"]).run()
    assert len(recorder.market) == DAYS * 4 - 2
    assert "a tick of AAPL is left out: price: inf is not a finite number" in caplog.text


async def test_progress_is_reported_at_its_interval(recorder: Recorder) -> None:
    clock, lines = Clock(), list[str]()
    feed = replay(rate=2.0, clock=clock, sleep=clock.sleep)
    options = {"clock": clock, "sleep": clock.sleep, "report": lines.append}
    await runner(recorder, feed, report_every=10.0, **options).run()
    assert len(lines) == 5  # of a lap of 60 seconds
    assert lines[2].startswith("4.0 updates/s, lag 0 ms, ")


async def test_the_streams_hold_what_the_feed_played() -> None:
    await FeedRunner(feed=replay(), symbols=SYMBOLS, predict_every=None).run()
    held = await broadcast.recent_updates("market-data", "MSFT", 150)
    expected = [tick async for tick in replay().ticks(SYMBOLS) if tick.symbol == "MSFT"]
    assert held == [tick.as_data() for tick in expected]


async def test_a_valkey_that_goes_and_returns_costs_no_tick(
    settings: Settings, tmp_path: Path
) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "realtime.delivery.layers.RedisStreamLayer",
            "CONFIG": {"hosts": [f"unix://{valkey.socket_path(tmp_path)}?db=0"]},
        }
    }
    running = FeedRunner(feed=replay(rate=100.0), symbols=SYMBOLS, predict_every=0.05)
    holder = await asyncio.to_thread(valkey.hold, tmp_path)
    try:
        task = asyncio.create_task(running.run())
        async with asyncio.timeout(PATIENCE):
            while running.progress.updates < LAP // 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.to_thread(holder.close)
        assert not task.done()
        holder = await asyncio.to_thread(valkey.hold, tmp_path)
        await asyncio.wait_for(task, PATIENCE)
        for symbol in SYMBOLS:
            held = await broadcast.recent_updates("market-data", symbol, 300)
            expected = [tick async for tick in replay().ticks(SYMBOLS) if tick.symbol == symbol]
            assert held == [tick.as_data() for tick in expected]
        assert await broadcast.recent_updates("predictions", "AAPL", 10)
    finally:
        await asyncio.to_thread(holder.close)


def endless_prices(symbol: str, closes: Sequence[float], horizon: int) -> Prediction:
    """A predictor of somebody else's."""
    last = float("nan") if symbol == "AAPL" else closes[-1]
    return Prediction(
        symbol=symbol, predicted_price=1.0, lower=1.0, upper=1.0, confidence=0.9, horizon=horizon,
        last_price=last, model="mine", model_version="1",
    )  # fmt: skip


async def test_a_prediction_that_cannot_be_published_costs_the_others_nothing(
    recorder: Recorder, settings: Settings
) -> None:
    settings.REALTIME_PREDICTOR = "tests.feeds.test_runner.endless_prices"
    await runner(recorder, replay(rate=200.0), predict_every=0.05, store=unstored).run()
    assert recorder.ticks == await whole_lap()
    assert {symbol for symbol, _, _ in recorder.predictions} == {"MSFT"}


async def unstored(symbol: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    return data
