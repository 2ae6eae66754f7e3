"""Predictions on request: read the prices, predict in a thread, share the result."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from django.conf import settings

from realtime.broadcast import PublishFailed
from realtime.predictions.predictors import (
    Prediction,
    PredictionFailed,
    checked_horizon,
    run_predictor,
)
from realtime.predictions.prices import RecentPrices, recent_prices
from realtime.predictions.stored_bars import filled_series
from realtime.streams import parse_symbol

logger = logging.getLogger(__name__)

# The computation of each symbol and horizon that is under way in this process. An entry stays
# until its thread has really ended: a predictor that hangs holds one thread per key, not one per
# asker.
_under_way: Final[dict[tuple[str, int], asyncio.Task[Prediction]]] = {}


async def predict(symbol: str, horizon: int = 1) -> Prediction:
    """A prediction from the prices published so far; raises InvalidSymbol or PredictionFailed.

    Who asks for a symbol and horizon that is being computed gets that result. Nobody waits longer
    than REALTIME_PREDICTION_TIMEOUT seconds.
    """
    key = parse_symbol(symbol), checked_horizon(horizon)
    task = _under_way.get(key)
    if task is None or task.get_loop() is not asyncio.get_running_loop():
        task = asyncio.create_task(_compute(*key))
        _under_way[key] = task
        task.add_done_callback(lambda done: _forget(key, done))
    timeout = settings.REALTIME_PREDICTION_TIMEOUT
    try:
        # Shielded: one asker that leaves or gives up does not end it for the others.
        return await asyncio.wait_for(asyncio.shield(task), timeout)
    except TimeoutError:
        raise PredictionFailed(
            f"no prediction for {key[0]} within {timeout:g} s; try again later", kind="timeout"
        ) from None


def _forget(key: tuple[str, int], task: "asyncio.Task[Prediction]") -> None:
    if _under_way.get(key) is task:
        del _under_way[key]
    if not task.cancelled():
        task.exception()  # seen, also when every asker has left


async def _compute(symbol: str, horizon: int) -> Prediction:
    try:
        prices = await recent_prices(symbol)
    except PublishFailed as exc:
        logger.warning("the prices of %s cannot be read: %s", symbol, exc.reason)
        raise PredictionFailed(f"the prices of {symbol} cannot be read at the moment") from exc
    return await predict_from(symbol, prices, horizon)


async def predict_from(symbol: str, prices: RecentPrices, horizon: int) -> Prediction:
    """A prediction from prices at hand, and stored bars before them; raises PredictionFailed."""
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
