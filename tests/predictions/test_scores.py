import math
from dataclasses import asdict
from typing import Any

import pytest

from realtime.predictions.scores import Outcome, Score, score_of


def outcome(predicted: float, actual: float, **more: Any) -> Outcome:
    return Outcome(predicted_price=predicted, actual_price=actual, **more)


def test_without_outcomes_nothing_is_known() -> None:
    assert score_of([]) == Score(outcomes=0)
    assert Score().as_data() == {"outcomes": 0}


def test_the_mean_absolute_error_takes_both_sides() -> None:
    assert score_of([outcome(10, 11), outcome(10, 7)]).mean_absolute_error == 2


def test_a_direction_is_right_when_both_moved_the_same_way() -> None:
    up, down, still = (outcome(11, actual, last_price=10) for actual in (12, 9, 10))
    assert score_of([up]).directional_accuracy == 1
    assert score_of([up, down, down, down]).directional_accuracy == 0.25
    assert score_of([still]).directional_accuracy is None


def test_the_share_within_bounds_stands_beside_the_nominal_share() -> None:
    held = [outcome(10, 10, within_bounds=n != 0, confidence=0.9) for n in range(4)]
    score = score_of([*held, outcome(10, 99), outcome(10, 99, within_bounds=False)])
    assert (score.within_bounds, score.nominal) == (0.75, pytest.approx(0.9))


@pytest.mark.parametrize(("predicted", "skill"), [(12, 1), (10, 0), (11, 0.5), (8, -1)])
def test_skill_is_measured_against_no_change(predicted: float, skill: float) -> None:
    assert score_of([outcome(predicted, 12, last_price=10)]).skill == pytest.approx(skill)


def test_no_skill_can_be_told_from_a_price_that_stood_still_or_is_unknown() -> None:
    assert score_of([outcome(11, 10, last_price=10)]).skill is None
    assert score_of([outcome(11, 10)]).skill is None


def test_data_leaves_out_what_is_not_known_and_rounds_the_rest() -> None:
    assert score_of([outcome(10, 10 + 1 / 3)]).as_data() == {
        "outcomes": 1,
        "mean_absolute_error": 0.33333333,
    }


HUGE, TINY = 1.7e308, 1e-300


@pytest.mark.parametrize(
    "poison",
    [
        [outcome(HUGE, TINY, last_price=HUGE / 2), outcome(HUGE, TINY, last_price=TINY)],
        [outcome(HUGE, 1, last_price=1 + 1e-15)] * 3,
        [outcome(math.nan, math.inf, last_price=math.nan, within_bounds=True, confidence=0.9)],
    ],
)
def test_a_score_is_of_finite_numbers_whatever_was_predicted(poison: list[Outcome]) -> None:
    numbers = asdict(score_of([*poison, outcome(11, 12, last_price=10)])).values()
    assert all(number is None or math.isfinite(number) for number in numbers)


def test_a_direction_is_told_also_where_the_product_of_two_moves_is_none() -> None:
    assert score_of([outcome(3e-200, 2e-200, last_price=1e-200)]).directional_accuracy == 1


def test_a_stored_score_that_is_no_number_is_not_told() -> None:
    assert Score(outcomes=2, skill=math.nan, nominal=math.inf).as_data() == {"outcomes": 2}
