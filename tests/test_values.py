import math

import pytest

from realtime.values import LARGEST, finite, mean, total

HUGE = 1.7e308


@pytest.mark.parametrize("number", [None, math.inf, -math.inf, math.nan])
def test_what_is_no_finite_number_is_none(number: float | None) -> None:
    assert finite(number) is None


def test_the_mean_of_numbers_whose_sum_is_infinite_is_finite() -> None:
    assert mean([HUGE, HUGE, HUGE]) == pytest.approx(HUGE)


def test_a_mean_passes_over_what_is_not_finite() -> None:
    assert mean([1.0, math.nan, 3.0, math.inf]) == 2.0
    assert mean([math.nan]) is None


@pytest.mark.parametrize(
    ("one", "other", "sum"),
    [(HUGE, HUGE, LARGEST), (math.inf, HUGE, HUGE), (HUGE, math.nan, HUGE), (1.5, 2.0, 3.5)],
)
def test_a_total_is_finite(one: float, other: float, sum: float) -> None:
    assert total(one, other) == sum
