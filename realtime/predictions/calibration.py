"""A calibration report: do bands of 90 % contain the price in 90 % of cases? Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Final

from realtime.predictions.scores import Outcome, Score, score_of
from realtime.values import finite, mean

# Nominal shares at which the report compares bands with outcomes.
LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A prediction and its outcome. Fields that the prediction lacks are None."""

    predicted_price: float
    actual_price: float
    last_price: float | None = None
    lower: float | None = None
    upper: float | None = None
    confidence: float | None = None

    @property
    def outcome(self) -> Outcome:
        return Outcome(
            predicted_price=self.predicted_price,
            actual_price=self.actual_price,
            last_price=self.last_price,
            within_bounds=None
            if self.lower is None or self.upper is None
            else self.lower <= self.actual_price <= self.upper,
            confidence=self.confidence,
        )

    def pinball(self) -> float | None:
        """The mean pinball loss of lower bound, median and upper bound, as a share of the price.

        Divided by the last price, so that symbols can be compared. Lower is better; it rewards
        bounds that are both narrow and correct.
        """
        if self.lower is None or self.upper is None or not self.confidence or not self.last_price:
            return None
        tail = (1 - self.confidence) / 2
        quantiles = ((tail, self.lower), (0.5, self.predicted_price), (1 - tail, self.upper))
        losses = mean([pinball(self.actual_price, price, level) for level, price in quantiles])
        return None if losses is None else finite(losses / self.last_price)

    def central_share(self) -> float | None:
        """The nominal share of the narrowest central band that would have contained the price.

        The bounds give one share only; other shares assume a normal distribution of log prices with
        a separate spread on each side. The rest of the curve is only as good as this assumption.
        """
        if self.lower is None or self.upper is None:
            return None
        edge = self.lower if self.actual_price < self.predicted_price else self.upper
        quantile = 0.5 + (self.confidence or 0) / 2
        prices = (self.actual_price, self.predicted_price, edge)
        if not 0.5 < quantile < 1 or not all(0 < price < math.inf for price in prices):
            return None
        # Not the logarithm of a quotient, which may overflow or underflow.
        actual, predicted, bound = (math.log(price) for price in prices)
        moved, width = abs(actual - predicted), abs(bound - predicted)
        if width == 0:
            return 0.0 if moved == 0 else 1.0
        return 2 * _NORMAL.cdf(_NORMAL.inv_cdf(quantile) * moved / width) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`curve`: pairs of a nominal share and the observed share of prices inside such a band."""

    score: Score
    pinball: float | None
    curve: Sequence[tuple[float, float]]

    def as_data(self) -> dict[str, object]:
        data = self.score.as_data()
        if self.pinball is not None:
            data["pinball"] = float(f"{self.pinball:.6g}")
        curve = [{"nominal": nominal, "held": round(held, 4)} for nominal, held in self.curve]
        return {**data, "calibration": curve}


def report_of(forecasts: Sequence[Forecast]) -> Report:
    losses = [loss for forecast in forecasts if (loss := forecast.pinball()) is not None]
    shares = [share for one in forecasts if (share := one.central_share()) is not None]
    return Report(
        score=score_of([forecast.outcome for forecast in forecasts]),
        pinball=mean(losses),
        curve=[(level, fmean(share <= level for share in shares)) for level in LEVELS]
        if shares
        else [],
    )


def pinball(actual: float, quantile: float, level: float) -> float:
    """The loss of a quantile: `level` per unit below the price, `1 - level` above it."""
    return level * (actual - quantile) if actual >= quantile else (1 - level) * (quantile - actual)
