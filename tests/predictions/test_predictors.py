import math
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from realtime.predictions.predictors import (
    MIN_CLOSES,
    WINDOW,
    Prediction,
    PredictionFailed,
    checked_horizon,
    configured_predictor,
    random_walk,
    run_predictor,
    warm_up,
)


def walk(count: int, drift: float = 0.001, spread: float = 0.02) -> list[float]:
    chance = random.Random(7)
    closes = [100.0]
    while len(closes) < count:
        closes.append(closes[-1] * math.exp(chance.gauss(drift, spread)))
    return closes


def prediction(**changes: Any) -> Prediction:
    fields = {
        "symbol": "AAPL",
        "predicted_price": 150.25,
        "lower": 140.0,
        "upper": 160.0,
        "confidence": 0.9,
        "horizon": 5,
        "last_price": 149.5,
        "model": "mine",
        "model_version": "3",
        "timestamp": datetime(2024, 1, 1, 12, tzinfo=UTC),
        "source": "replay",
    }
    return Prediction(**{**fields, **changes})


def wrong_type(symbol: str, closes: object, horizon: int) -> dict[str, float]:
    return {"predicted_price": 1.0}


def broken(symbol: str, closes: object, horizon: int) -> Prediction:
    raise StopIteration("secret detail")


def nonsense(symbol: str, closes: object, horizon: int) -> Prediction:
    return prediction(lower=200.0)


def test_data_has_the_names_of_the_customers_document_and_the_bounds() -> None:
    assert prediction().as_data() == {
        "predicted_price": 150.25,
        "confidence": 0.9,
        "timestamp": "2024-01-01T12:00:00.000Z",
        "lower_bound": 140.0,
        "upper_bound": 160.0,
        "horizon": 5,
        "last_price": 149.5,
        "model": "mine",
        "model_version": "3",
        "source": "replay",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"lower": 151.0},
        {"upper": 150.0},
        {"lower": 0.0},
        {"upper": math.inf},
        {"predicted_price": math.nan},
        {"confidence": 1.0},
        {"confidence": math.nan},
    ],
)
def test_a_prediction_that_makes_no_sense_cannot_be_made(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="mine"):
        prediction(**change)


def test_the_random_walk_extends_the_drift() -> None:
    closes = [100 * 1.01**n * (1.0001 if n % 2 else 1.0) for n in range(101)]
    made = random_walk("AAPL", closes, 10)
    assert made.predicted_price == pytest.approx(closes[-1] * 1.01**10, rel=1e-3)
    assert (made.last_price, made.horizon, made.confidence) == (closes[-1], 10, 0.9)


def test_the_band_grows_faster_than_the_root_of_the_horizon() -> None:
    """The error of the estimated drift adds up with every step."""
    closes = walk(101)
    widths = [math.log((made := random_walk("X", closes, h)).upper / made.lower) for h in (1, 30)]
    assert widths[1] / widths[0] == pytest.approx(math.sqrt((30 + 900 / 100) / (1 + 1 / 100)))


def test_only_the_newest_year_of_prices_counts() -> None:
    closes = walk(WINDOW + 1)
    alone, with_past = (
        random_walk("X", prices, 5) for prices in (closes, [*walk(500, spread=0.3), *closes])
    )
    assert (alone.lower, alone.upper) == (with_past.lower, with_past.upper)


def test_too_few_prices_are_told_with_the_number_needed() -> None:
    with pytest.raises(PredictionFailed, match="not enough prices for FB: have 7, need 30") as info:
        random_walk("FB", walk(7), 1)
    assert info.value.kind == "not_enough_prices"


def test_the_fewest_prices_allowed_are_enough() -> None:
    assert random_walk("FB", walk(MIN_CLOSES), 1).model == "random_walk"


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_price_that_is_none_is_named(bad: float) -> None:
    closes = walk(40)
    closes[4] = bad
    with pytest.raises(PredictionFailed, match=f"price 5 of 40 for X is {bad}"):
        random_walk("X", closes, 1)


def test_prices_that_do_not_vary_give_no_band() -> None:
    with pytest.raises(PredictionFailed, match="the last 40 prices of X do not vary"):
        random_walk("X", [5.0] * 40, 1)


def test_prices_beyond_all_bounds_give_no_band() -> None:
    with pytest.raises(PredictionFailed, match="vary too widely"):
        random_walk("X", [1e-300, 1e300] * 20, 30)


@given(
    st.lists(st.floats(min_value=0, exclude_min=True, allow_infinity=False), min_size=MIN_CLOSES),
    st.integers(min_value=1, max_value=30),
)
def test_any_prices_give_an_ordered_finite_band_or_a_typed_failure(
    closes: list[float], horizon: int
) -> None:
    try:
        made = random_walk("X", closes, horizon)
    except PredictionFailed:
        return
    assert 0 < made.lower <= made.predicted_price <= made.upper < math.inf


@pytest.mark.parametrize("horizon", [0, 31, -1, 1.5, True, "5", None])
def test_a_horizon_out_of_range_is_refused(horizon: object) -> None:
    with pytest.raises(PredictionFailed, match="whole number from 1 to 30") as info:
        checked_horizon(horizon)
    assert info.value.kind == "bad_horizon"


def test_the_predictor_is_a_setting(settings: Settings) -> None:
    assert configured_predictor() is random_walk
    settings.REALTIME_PREDICTOR = f"{__name__}.broken"
    assert configured_predictor() is broken


@pytest.mark.parametrize("path", ["nowhere.predictor", f"{__name__}.absent", "nodots"])
def test_a_predictor_that_cannot_be_loaded_is_named(settings: Settings, path: str) -> None:
    settings.REALTIME_PREDICTOR = path
    with pytest.raises(ImproperlyConfigured, match=f"REALTIME_PREDICTOR='{path}' cannot be loaded"):
        configured_predictor()


@pytest.mark.parametrize("name", ["wrong_type", "broken", "nonsense"])
def test_a_predictor_that_fails_tells_the_log_and_not_the_client(
    settings: Settings, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    settings.REALTIME_PREDICTOR = f"{__name__}.{name}"
    with pytest.raises(PredictionFailed) as info:
        run_predictor("AAPL", walk(40), 1)
    assert str(info.value) == "the predictor failed for AAPL"
    assert "the predictor failed for AAPL, horizon 1" in caplog.text


def test_a_predictor_that_needs_time_is_warmed_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed: list[str] = []
    monkeypatch.setattr(broken, "warm_up", lambda: warmed.append("now"), raising=False)
    settings.REALTIME_PREDICTOR = f"{__name__}.broken"
    warm_up()
    assert warmed == ["now"]


def test_a_predictor_that_is_missing_does_not_keep_a_server_from_starting(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REALTIME_PREDICTOR = "nowhere.predictor"
    warm_up()
    assert "there will be no predictions: REALTIME_PREDICTOR='nowhere.predictor'" in caplog.text
