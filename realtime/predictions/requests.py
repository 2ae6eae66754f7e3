"""Predictions on request: read the prices, predict, store, share the result.

REALTIME_PREDICTION_RUNNER says where: `pool`, in a thread of this process, or `celery`, in a
worker, which sends the result back through the channel layer.
"""

import asyncio
import logging
import weakref
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from channels.layers import get_channel_layer

from realtime.broadcast import PublishFailed
from realtime.conf import conf
from realtime.delivery.layers import loop_layer
from realtime.extras import MissingExtra, extra
from realtime.predictions.predictors import (
    Prediction,
    PredictionFailed,
    checked_horizon,
    run_predictor,
)
from realtime.predictions.prices import RecentPrices, recent_prices
from realtime.predictions.records import stored_data
from realtime.predictions.stored_bars import filled_series
from realtime.streams import parse_symbol

logger = logging.getLogger(__name__)

# Histories that are read concurrently. Each read uses a connection to Redis, and new subscriptions
# need some of the hundred that a process has.
READ_AT_ONCE: Final = 16

Data = Mapping[str, object]

# The task that computes for the runner `celery`, in realtime/tasks.py.
TASK: Final = "realtime.tasks.compute_prediction"
RESULT: Final = "prediction.result"

# The running computation of each symbol and horizon in this process. An entry stays until its
# thread has ended: a predictor that hangs holds one thread per key, not one per request.
_under_way: Final[dict[tuple[str, int], asyncio.Task[Data]]] = {}

_reading: "Final[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]]" = (
    weakref.WeakKeyDictionary()
)


async def request_prediction(symbol: str, horizon: int = 1) -> Data:
    """The data of a prediction from the prices published so far, stored already.

    A request for a symbol and horizon that are being computed shares that result. No request waits
    longer than REALTIME_PREDICTION_TIMEOUT seconds. Raises InvalidSymbol and PredictionFailed.
    """
    key = parse_symbol(symbol), checked_horizon(horizon)
    task = _under_way.get(key)
    if task is None or task.get_loop() is not asyncio.get_running_loop():
        remote = conf.REALTIME_PREDICTION_RUNNER == "celery"
        task = asyncio.create_task(_compute_in_worker(*key) if remote else compute(*key))
        _under_way[key] = task
        task.add_done_callback(lambda done: _forget(key, done))
    timeout = conf.REALTIME_PREDICTION_TIMEOUT
    try:
        # Shielded: a client that leaves or times out does not end the computation for the others.
        async with asyncio.timeout(timeout):
            return await asyncio.shield(task)
    except TimeoutError:
        raise _too_late(key[0]) from None


def _forget(key: tuple[str, int], task: "asyncio.Task[Data]") -> None:
    if _under_way.get(key) is task:
        del _under_way[key]
    if not task.cancelled():
        task.exception()  # retrieved even if every client has left


def _too_late(symbol: str) -> PredictionFailed:
    timeout = conf.REALTIME_PREDICTION_TIMEOUT
    return PredictionFailed(
        f"no prediction for {symbol} within {timeout:g} s; try again later", kind="timeout"
    )


async def compute(symbol: str, horizon: int) -> Data:
    """Predict and store in this process; raises PredictionFailed."""
    reading = _reading.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(READ_AT_ONCE))
    try:
        async with reading:
            prices = await recent_prices(symbol)
    except PublishFailed as exc:
        logger.warning("the prices of %s cannot be read: %s", symbol, exc.reason)
        raise PredictionFailed(f"the prices of {symbol} cannot be read at the moment") from exc
    prediction = await predict_from(symbol, prices, horizon)
    return await stored_data(symbol, prediction.as_data(), requested=True)


async def predict_from(symbol: str, prices: RecentPrices, horizon: int) -> Prediction:
    """A prediction from given prices and stored bars before them; raises PredictionFailed."""
    series = await filled_series(symbol, prices)
    if not series.closes:
        raise PredictionFailed(f"no market data for {symbol} yet", kind="unknown_symbol")
    prediction = await asyncio.to_thread(run_predictor, symbol, series.closes, horizon)
    return replace(
        prediction,
        timestamp=series.as_of,
        source=series.source,
        step=series.step,
        valid_until=series.valid_until(horizon),
    )


# In a worker ----------------------------------------------------------------------------------


async def _compute_in_worker(symbol: str, horizon: int) -> Data:
    """Ask a Celery worker and wait for its result; raises PredictionFailed."""
    layer = get_channel_layer()
    assert layer is not None  # the prices came through it
    channel = await layer.new_channel()
    timeout = conf.REALTIME_PREDICTION_TIMEOUT
    try:
        async with asyncio.timeout(timeout):
            await asyncio.to_thread(_send_task, (symbol, horizon, channel), timeout)
            message = await layer.receive(channel)
    except TimeoutError:
        raise _too_late(symbol) from None
    finally:
        own = loop_layer(layer)
        if own is not None:
            own.detach(channel)
    if "failed" in message:
        raise PredictionFailed(message["failed"], kind=message["kind"])
    data: Data = message["data"]
    return data


def _send_task(arguments: tuple[str, int, str], expires: float) -> None:
    """Wait for the broker; raises PredictionFailed."""
    try:
        with extra("celery", needed_by="REALTIME_PREDICTION_RUNNER=celery"):
            from celery import current_app
            from kombu.exceptions import KombuError
    except MissingExtra as exc:
        logger.error("predictions cannot be computed: %s", exc)
        raise PredictionFailed("no worker can be asked at the moment; try again later") from exc
    try:
        current_app.send_task(TASK, arguments, expires=expires)
    except (KombuError, OSError) as exc:
        logger.warning("no worker can be asked for a prediction of %s: %s", arguments[0], exc)
        raise PredictionFailed("no worker can be asked at the moment; try again later") from exc


async def answer(symbol: str, horizon: int, channel: str) -> None:
    """In the worker: compute, and send the result or the failure to the requesting channel."""
    try:
        result: dict[str, object] = {"data": dict(await compute(symbol, horizon))}
    except PredictionFailed as exc:
        result = {"failed": exc.reason, "kind": exc.kind}
    layer = get_channel_layer()
    assert layer is not None
    await layer.send(channel, {"type": RESULT, **result})
