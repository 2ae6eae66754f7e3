"""The interface behind REALTIME_PREDICTOR, and the built-in predictor. Pure: no I/O, no models.

A predictor is a callable `(symbol, closes, horizon) -> Prediction` named by a dotted path in the
setting. `closes` are positive prices, oldest first; the last one may belong to an open bar.
`horizon` counts steps of the same spacing as `closes`. It runs in a thread, never on the event
loop, and raises PredictionFailed where it cannot answer.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from statistics import NormalDist, fmean, variance
from typing import Final, Literal

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from realtime import protocol
from realtime.conf import conf

# Daily closes of one trading year, which contains periods of low and of high volatility.
WINDOW: Final = 250
MIN_CLOSES: Final = 30
CONFIDENCE: Final = 0.90

FailureKind = Literal[
    "bad_horizon", "unknown_symbol", "not_enough_prices", "bad_prices", "timeout", "internal"
]


class PredictionFailed(Exception):
    """Raised when no prediction can be made; `reason` may be shown to the client that asked."""

    def __init__(self, reason: str, *, kind: FailureKind = "internal") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a symbol's price will be `horizon` steps ahead; raises ValueError for nonsense.

    `predicted_price` is the median. `confidence` is the nominal probability that the price at
    the horizon lies within `lower` to `upper`. `timestamp` (aware) and `source` are those of
    `last_price`, `step` is the unit of `horizon` (`1d`, `1m` or `update`), and `valid_until` is its
    end by the clock of `timestamp`; the code that reads the prices fills these in.
    """

    symbol: str
    predicted_price: float
    lower: float
    upper: float
    confidence: float
    horizon: int
    last_price: float
    model: str
    model_version: str
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    source: str | None = None
    step: str | None = None
    valid_until: datetime | None = None

    def __post_init__(self) -> None:
        if not 0 < self.lower <= self.predicted_price <= self.upper < math.inf:
            raise ValueError(
                f"prediction of {self.model} is not 0 < lower <= predicted_price <= upper: "
                f"{self.lower}, {self.predicted_price}, {self.upper}"
            )
        if not 0 < self.last_price < math.inf:
            raise ValueError(f"last_price of {self.model} is not a valid price: {self.last_price}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence of {self.model} is not a probability: {self.confidence}")

    def as_data(self) -> dict[str, object]:
        """`data` of a `prediction_update`."""
        data = {
            "predicted_price": _round(self.predicted_price),
            "lower_bound": _round(self.lower),
            "upper_bound": _round(self.upper),
            "confidence": self.confidence,
            "horizon": self.horizon,
            "last_price": _round(self.last_price),
            "model": self.model,
            "model_version": self.model_version,
            "timestamp": protocol.timestamp(self.timestamp),
        }
        if self.source is not None:
            data["source"] = self.source
        if self.step is not None:
            data["step"] = self.step
        if self.valid_until is not None:
            data["valid_until"] = protocol.timestamp(self.valid_until)
        return data


logger = logging.getLogger(__name__)

Predictor = Callable[[str, Sequence[float], int], Prediction]


def configured_predictor() -> Predictor:
    """The callable of REALTIME_PREDICTOR; raises ImproperlyConfigured, naming the setting."""
    path = conf.REALTIME_PREDICTOR
    try:
        predictor = import_string(path)
    except ImportError as exc:
        raise ImproperlyConfigured(f"REALTIME_PREDICTOR={path!r} cannot be loaded: {exc}") from exc
    if not callable(predictor):
        raise ImproperlyConfigured(f"REALTIME_PREDICTOR={path!r} is not a callable")
    return predictor  # type: ignore[no-any-return]


def warm_up() -> None:
    """Begin the slow start of the configured predictor, if any, without waiting for it.

    A predictor may have an attribute `warm_up`, a function that returns at once.
    """
    try:
        prepare = getattr(configured_predictor(), "warm_up", None)
    except ImproperlyConfigured as exc:
        logger.error("there will be no predictions: %s", exc)
        return
    if prepare is not None:
        prepare()


def run_predictor(symbol: str, closes: Sequence[float], horizon: int) -> Prediction:
    """Call the configured predictor in the current thread; raises only PredictionFailed."""
    try:
        prediction = configured_predictor()(symbol, closes, horizon)
        if not isinstance(prediction, Prediction):
            raise TypeError(
                f"{conf.REALTIME_PREDICTOR} returned {type(prediction).__name__}, not a Prediction"
            )
    except PredictionFailed:
        raise
    except Exception as exc:
        # The predictor may be code of the project; its error text goes to the log, not to the
        # client.
        logger.exception("the predictor failed for %s, horizon %s", symbol, horizon)
        raise PredictionFailed(f"the predictor failed for {symbol}") from exc
    return prediction


def random_walk(symbol: str, closes: Sequence[float], horizon: int) -> Prediction:
    """A random walk with drift on log returns, with a normal band.

    Over h steps the log price moves by h times the mean return, with variance h * s^2 of the steps
    plus h^2 * s^2 / n because the mean itself is an estimate from n returns, the last WINDOW ones.
    """
    closes = checked_closes(symbol, closes, need=MIN_CLOSES)[-WINDOW - 1 :]
    # Not the logarithm of a quotient, which underflows for prices that lie far apart.
    returns = [math.log(after) - math.log(before) for before, after in pairwise(closes)]
    drift = fmean(returns)
    spread = variance(returns, drift)
    if spread == 0:
        raise PredictionFailed(
            f"the last {len(closes)} prices of {symbol} do not vary", kind="bad_prices"
        )
    middle = horizon * drift
    deviation = math.sqrt(horizon * spread + horizon**2 * spread / len(returns))
    width = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * deviation
    last = closes[-1]
    try:
        return Prediction(
            symbol=symbol,
            predicted_price=last * math.exp(middle),
            lower=last * math.exp(middle - width),
            upper=last * math.exp(middle + width),
            confidence=CONFIDENCE,
            horizon=horizon,
            last_price=last,
            model="random_walk",
            model_version="1",
        )
    except (OverflowError, ValueError):
        # Prices that jump by powers of ten can make the band overflow.
        raise PredictionFailed(
            f"the prices of {symbol} vary too widely for a band", kind="bad_prices"
        ) from None


def checked_closes(symbol: str, closes: Sequence[float], *, need: int) -> Sequence[float]:
    """The given closes; raises PredictionFailed if there are too few or one is invalid."""
    if len(closes) < need:
        raise PredictionFailed(
            f"not enough prices for {symbol}: have {len(closes)}, need {need}",
            kind="not_enough_prices",
        )
    for place, close in enumerate(closes, start=1):
        if not 0 < close < math.inf:  # NaN compares false, too
            raise PredictionFailed(
                f"price {place} of {len(closes)} for {symbol} is {close}: "
                "prices must be finite and above zero",
                kind="bad_prices",
            )
    return closes


def checked_horizon(horizon: object) -> int:
    """The horizon, a whole number of steps from 1 to 30; raises PredictionFailed."""
    if (
        isinstance(horizon, int)
        and not isinstance(horizon, bool)
        and 1 <= horizon <= protocol.MAX_HORIZON
    ):
        return horizon
    raise PredictionFailed(
        f"horizon must be a whole number from 1 to {protocol.MAX_HORIZON}, not {horizon!r}",
        kind="bad_horizon",
    )


def _round(price: float) -> float:
    """Rounded to eight significant digits, as prices are."""
    return float(f"{price:.8g}")
