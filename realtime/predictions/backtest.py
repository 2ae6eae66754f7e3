"""Backtests: predictions at many past origins, beside the prices that followed. Pure."""

import random
from collections.abc import Mapping, Sequence
from typing import Final

from realtime.predictions.calibration import Forecast
from realtime.predictions.predictors import PredictionFailed, Predictor

# Closes that a predictor receives at an origin: the number up to which stored bars fill a series.
HELD: Final = 501

Closes = Mapping[str, Sequence[float]]  # by symbol, oldest first
Origin = tuple[str, int]  # a symbol, and the index of the last known close


class TooShort(ValueError):
    """Raised when the closes have fewer origins than requested."""


def choose_origins(
    closes: Closes, count: int, *, horizon: int, seed: int, held: int = HELD
) -> list[Origin]:
    """`count` distinct random origins, reproducible by the seed; raises TooShort.

    Each has `held` closes up to it, and a close `horizon` steps after it.
    """
    possible = [
        (symbol, place)
        for symbol in sorted(closes)
        for place in range(held - 1, len(closes[symbol]) - horizon)
    ]
    if len(possible) < count:
        raise TooShort(
            f"{count} origins need more closes: {held} before an origin and {horizon} behind it "
            f"leave {len(possible)}"
        )
    return random.Random(seed).sample(possible, count)


def backtest(
    predictor: Predictor,
    closes: Closes,
    origins: Sequence[Origin],
    *,
    horizon: int,
    held: int = HELD,
) -> tuple[list[Forecast], list[PredictionFailed]]:
    """The forecasts at the origins, and the failures of the predictor."""
    forecasts: list[Forecast] = []
    failures: list[PredictionFailed] = []
    for symbol, place in origins:
        known = closes[symbol][place - held + 1 : place + 1]
        try:
            made = predictor(symbol, known, horizon)
        except PredictionFailed as exc:
            failures.append(exc)
            continue
        except Exception as exc:  # any predictor, on any prices
            failures.append(PredictionFailed(f"{symbol}: {exc!r}"))
            continue
        forecasts.append(
            Forecast(
                predicted_price=made.predicted_price,
                actual_price=closes[symbol][place + horizon],
                last_price=made.last_price,
                lower=made.lower,
                upper=made.upper,
                confidence=made.confidence,
            )
        )
    return forecasts, failures
