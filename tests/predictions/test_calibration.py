import json
import math
from statistics import NormalDist
from typing import Any

import pytest

from realtime.predictions.calibration import Forecast, pinball, report_of


def forecast(actual: float, **changes: Any) -> Forecast:
    fields = {
        "predicted_price": 100.0, "lower": 90.0, "upper": 110.0, "confidence": 0.9,
        "last_price": 100.0, "actual_price": actual,
    }  # fmt: skip
    return Forecast(**{**fields, **changes})


def test_the_pinball_loss_weighs_the_two_sides_by_the_level() -> None:
    assert pinball(12, 10, 0.95) == pytest.approx(1.9)
    assert pinball(8, 10, 0.95) == pytest.approx(0.1)


def test_the_loss_of_a_forecast_is_the_mean_of_its_three_quantiles_as_a_share() -> None:
    assert forecast(100).pinball() == pytest.approx((0.05 * 10 + 0 + 0.05 * 10) / 3 / 100)


def test_narrow_bounds_that_hold_are_better_and_that_miss_are_worse() -> None:
    wide, narrow = forecast(100).pinball(), forecast(100, lower=99, upper=101).pinball()
    missed = forecast(105, lower=99, upper=101).pinball()
    assert wide is not None
    assert narrow is not None
    assert missed is not None
    assert narrow < wide < missed


def test_a_price_on_the_bound_lies_on_the_edge_of_the_nominal_band() -> None:
    assert forecast(110).central_share() == pytest.approx(0.9)
    assert forecast(90).central_share() == pytest.approx(0.9)
    assert forecast(100).central_share() == pytest.approx(0)


def test_forecasts_from_their_own_distribution_lie_on_the_diagonal() -> None:
    z = NormalDist().inv_cdf(0.95)
    drawn = [NormalDist().inv_cdf((n + 0.5) / 1000) for n in range(1000)]
    forecasts = [
        forecast(100 * math.exp(0.1 * x), lower=100 * math.exp(-0.1 * z),
                 upper=100 * math.exp(0.1 * z))
        for x in drawn
    ]  # fmt: skip
    assert all(abs(nominal - held) < 0.002 for nominal, held in report_of(forecasts).curve)


@pytest.mark.parametrize("missing", ["lower", "confidence"])
def test_without_a_band_there_is_an_error_and_no_calibration(missing: str) -> None:
    report = report_of([forecast(105, **{missing: None})])
    assert report.score.mean_absolute_error == 5
    assert (report.pinball, report.curve) == (None, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"predicted_price": 1e308, "lower": 1e-308, "upper": 1.7e308, "last_price": 1e-308},
        {"lower": -1.0}, {"predicted_price": 0.0}, {"upper": math.inf}, {"last_price": 1e-308},
        {"confidence": 1.0}, {"confidence": math.nextafter(1, 0)}, {"confidence": math.nan},
    ],
)  # fmt: skip
def test_a_stored_forecast_of_any_numbers_spoils_no_report(changes: dict[str, float]) -> None:
    report = report_of([forecast(1e-300, **changes), forecast(1e308, **changes), forecast(100)])
    json.dumps(report.as_data(), allow_nan=False)
