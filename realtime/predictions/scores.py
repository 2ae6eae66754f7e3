"""How good predictions were, from their outcomes. Pure."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from realtime.values import finite, mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A prediction and its actual price. Fields that the prediction lacks are None."""

    predicted_price: float
    actual_price: float
    last_price: float | None = None
    within_bounds: bool | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A score over a number of outcomes; a figure that none of them supports is None.

    `mean_absolute_error`: in the price's currency. `directional_accuracy`: share of the moves
    whose direction was predicted (a price that stood still did not move). `within_bounds`: share
    of the prices inside the bounds, to be compared with `nominal`, the mean probability that was
    claimed for them. `skill`: 1 is perfect, 0 as good as "the price will not change", below 0
    worse than that.
    """

    outcomes: int = 0
    mean_absolute_error: float | None = None
    directional_accuracy: float | None = None
    within_bounds: float | None = None
    nominal: float | None = None
    skill: float | None = None

    def as_data(self) -> dict[str, object]:
        """For JSON: the known figures, with four digits (the error: eight significant digits)."""
        data = {name: value for name, value in asdict(self).items() if finite(value) is not None}
        for name, value in data.items():
            if name == "mean_absolute_error":
                data[name] = float(f"{value:.8g}")
            elif isinstance(value, float):
                data[name] = round(value, 4)
        return data


def score_of(outcomes: Sequence[Outcome]) -> Score:
    errors = [abs(outcome.actual_price - outcome.predicted_price) for outcome in outcomes]
    banded = [
        (outcome.within_bounds, outcome.confidence)
        for outcome in outcomes
        if outcome.within_bounds is not None and outcome.confidence is not None
    ]
    nominal = mean([confidence for _, confidence in banded])
    return Score(
        outcomes=len(outcomes),
        mean_absolute_error=mean(errors),
        directional_accuracy=_directional_accuracy(outcomes),
        within_bounds=mean([within for within, _ in banded]),
        # Rounded, so that the mean of many 0.9 is exactly 0.9.
        nominal=None if nominal is None else round(nominal, 9),
        skill=_skill(outcomes),
    )


def _directional_accuracy(outcomes: Sequence[Outcome]) -> float | None:
    right = [
        (outcome.predicted_price > outcome.last_price)
        if outcome.actual_price > outcome.last_price
        else (outcome.predicted_price < outcome.last_price)
        for outcome in outcomes
        if outcome.last_price is not None and outcome.actual_price != outcome.last_price
    ]
    return mean(right)


def _skill(outcomes: Sequence[Outcome]) -> float | None:
    """1 - sum of errors / sum of the errors of "no change"; means, whose quotient is the same."""
    told = [
        (abs(outcome.actual_price - outcome.predicted_price), abs(outcome.actual_price - last))
        for outcome in outcomes
        if (last := outcome.last_price) is not None
    ]
    known = [pair for pair in told if all(math.isfinite(number) for number in pair)]
    error, no_change = mean([error for error, _ in known]), mean([change for _, change in known])
    return finite(1 - error / no_change) if error is not None and no_change else None
