import asyncio
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pytest_django import Settings

from realtime import broadcast
from realtime.predictions.predictors import Prediction, PredictionFailed, random_walk
from realtime.predictions.requests import request_prediction
from realtime.streams import InvalidSymbol
from tests.patience import PATIENCE

calls: "queue.SimpleQueue[tuple[int, str]]" = queue.SimpleQueue()
may_answer = threading.Event()


def slow(symbol: str, closes: Sequence[float], horizon: int) -> Prediction:
    """Answers when the test says so."""
    calls.put((horizon, threading.current_thread().name))
    may_answer.wait(PATIENCE)
    return random_walk(symbol, closes, horizon)


@pytest.fixture
def slow_predictor(settings: Settings) -> Iterator[None]:
    settings.REALTIME_PREDICTOR = f"{__name__}.slow"
    may_answer.clear()
    yield
    may_answer.set()
    assert calls.empty(), "a computation that the test did not expect"


async def publish(count: int, symbol: str = "AAPL", **more: Any) -> None:
    await broadcast.abroadcast_many(
        [broadcast.market_data_update(symbol, {"price": 100 + n % 7, **more}) for n in range(count)]
    )


async def called() -> tuple[int, str]:
    """The horizon and the thread of the next call of `slow`."""
    return await asyncio.to_thread(calls.get, timeout=PATIENCE)


async def test_a_prediction_rests_on_what_was_published() -> None:
    await publish(40, source="replay", timestamp="2008-01-02T21:00:00.000Z")
    made = await request_prediction("aapl", 5)
    assert (made["horizon"], made["last_price"]) == (5, 100 + 39 % 7)
    assert (made["source"], made["timestamp"]) == ("replay", "2008-01-02T21:00:00.000Z")


async def test_a_crowd_of_requests_is_answered(redis_layer: None) -> None:
    count = 150  # more than a process has connections to Redis
    symbols = [f"S{number}" for number in range(count)]
    for symbol in symbols:
        await publish(40, symbol)
    made = await asyncio.gather(*(request_prediction(symbol) for symbol in symbols))
    assert [data["last_price"] for data in made] == [100 + 39 % 7] * count


async def test_a_symbol_without_market_data_is_told() -> None:
    with pytest.raises(PredictionFailed, match="no market data for TSLA yet") as info:
        await request_prediction("TSLA")
    assert info.value.kind == "unknown_symbol"


async def test_too_few_prices_are_told() -> None:
    await publish(3)
    with pytest.raises(PredictionFailed, match="not enough prices for AAPL: have 3, need 30"):
        await request_prediction("AAPL")


async def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidSymbol):
        await request_prediction("no symbol")
    with pytest.raises(PredictionFailed, match="horizon must be"):
        await request_prediction("AAPL", 31)


@pytest.mark.usefixtures("slow_predictor")
async def test_askers_for_the_same_share_one_computation_off_the_event_loop() -> None:
    await publish(40)
    askers = [asyncio.create_task(request_prediction("AAPL", 5)) for _ in range(10)]
    horizon, thread = await called()
    assert (horizon, thread != threading.main_thread().name) == (5, True)
    askers.append(asyncio.create_task(request_prediction("AAPL", 5)))
    may_answer.set()
    made = await asyncio.gather(*askers)
    assert len({id(one) for one in made}) == 1


@pytest.mark.usefixtures("slow_predictor")
async def test_another_horizon_is_another_computation() -> None:
    await publish(40)
    askers = [asyncio.create_task(request_prediction("AAPL", horizon)) for horizon in (5, 6)]
    assert {(await called())[0], (await called())[0]} == {5, 6}
    may_answer.set()
    assert [made["horizon"] for made in await asyncio.gather(*askers)] == [5, 6]


@pytest.mark.usefixtures("slow_predictor")
async def test_an_asker_that_leaves_does_not_end_it_for_the_others() -> None:
    await publish(40)
    leaver, stayer = (asyncio.create_task(request_prediction("AAPL")) for _ in range(2))
    await called()
    leaver.cancel()
    await asyncio.wait([leaver])
    may_answer.set()
    assert (await stayer)["horizon"] == 1


async def test_a_result_is_not_kept_for_later_askers() -> None:
    await publish(40)
    first = await request_prediction("AAPL")
    await publish(1, source=None)
    assert (await request_prediction("AAPL"))["last_price"] != first["last_price"]


@pytest.mark.usefixtures("slow_predictor")
async def test_a_predictor_that_hangs_times_out_and_is_not_started_twice(
    settings: Settings,
) -> None:
    settings.REALTIME_PREDICTION_TIMEOUT = 0.05
    await publish(40)
    for _ in range(2):
        with pytest.raises(PredictionFailed, match=r"within 0\.05 s") as info:
            await request_prediction("AAPL")
        assert info.value.kind == "timeout"
    await called()
    may_answer.set()


async def test_a_channel_layer_without_history_has_no_prices(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    await publish(40)
    with pytest.raises(PredictionFailed, match="no market data for AAPL yet"):
        await request_prediction("AAPL")


async def test_a_backend_that_is_away_is_told_without_its_details(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "realtime.delivery.layers.RedisStreamLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
        }
    }
    with pytest.raises(PredictionFailed) as info:
        await request_prediction("AAPL")
    assert str(info.value) == "the prices of AAPL cannot be read at the moment"
    assert "the prices of AAPL cannot be read: Error 111" in caplog.text
