"""What of a prediction's data is stored, from whatever names it came with."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from realtime.broadcast import InvalidUpdate
from realtime.predictions.fields import prediction_fields

NOW = datetime(2024, 1, 1, 12, tzinfo=UTC)


def fields(**data: Any) -> dict[str, Any]:
    return prediction_fields(data, NOW)


def test_the_example_of_the_customers_document_is_a_day_ahead_of_its_timestamp() -> None:
    stored = fields(predicted_price=150.25, confidence=0.85, timestamp="2024-01-01T09:00:00Z")
    assert (stored["predicted_price"], stored["confidence"]) == (150.25, 0.85)
    assert (stored["horizon"], stored["step"]) == (1, "1d")
    assert stored["as_of"] == datetime(2024, 1, 1, 9, tzinfo=UTC)
    assert stored["valid_until"] == datetime(2024, 1, 2, 9, tzinfo=UTC)
    assert (stored["lower_bound"], stored["last_price"], stored["model"]) == (None, None, "")


@pytest.mark.parametrize("name", ["predicted_price", "prediction"])
def test_the_price_is_taken_from_the_name_that_exists(name: str) -> None:
    assert fields(**{name: 150})["predicted_price"] == 150.0


def test_the_longer_name_counts_where_both_exist() -> None:
    assert fields(prediction=1, predicted_price=Decimal("2.5"))["predicted_price"] == 2.5


def test_without_a_timestamp_it_is_of_now() -> None:
    assert fields(prediction=1)["as_of"] == NOW


def test_minutes_are_counted_as_minutes() -> None:
    stored = fields(prediction=1, horizon=5, step="1m")
    assert stored["valid_until"] == NOW + timedelta(minutes=5)


def test_a_time_without_zone_is_utc_and_any_other_is_converted() -> None:
    assert fields(prediction=1, timestamp="2024-01-01T09:00:00")["as_of"].hour == 9
    assert fields(prediction=1, timestamp="2024-01-01T09:00:00+02:00")["as_of"].hour == 7


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "predicted_price"),
        ({"price": 150}, "predicted_price"),
        ({"prediction": None}, "predicted_price"),
        ({"prediction": "150"}, "prediction"),
        ({"predicted_price": True}, "predicted_price"),
        ({"predicted_price": 0}, "predicted_price"),
        ({"predicted_price": math.nan}, "predicted_price"),
        ({"predicted_price": 10**400}, "predicted_price"),
        ({"prediction": 5, "lower_bound": 4}, "upper_bound"),
        ({"prediction": 5, "upper": 6}, "lower_bound"),
        ({"prediction": 5, "lower": 6, "upper": 7}, "lower_bound"),
        ({"prediction": 5, "lower": 3, "upper": 4}, "upper_bound"),
        ({"prediction": 5, "confidence": 85}, "confidence"),
        ({"prediction": 5, "confidence": "high"}, "confidence"),
        ({"prediction": 5, "horizon": 0}, "horizon"),
        ({"prediction": 5, "horizon": 366}, "horizon"),
        ({"prediction": 5, "horizon": 1.5}, "horizon"),
        ({"prediction": 5, "step": "1w"}, "step"),
        ({"prediction": 5, "timestamp": "soon"}, "timestamp"),
        ({"prediction": 5, "timestamp": 1704110400}, "timestamp"),
        ({"prediction": 5, "valid_until": "2023-12-31"}, "valid_until"),
        ({"prediction": 5, "model": 7}, "model"),
        ({"prediction": 5, "model": "m" * 65}, "model"),
        ({"prediction": 5, "source": "a\0b"}, "source"),
        ({"prediction": 5, "last_price": -1}, "last_price"),
    ],
)
def test_what_cannot_be_stored_is_named(data: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidUpdate) as info:
        fields(**data)
    assert info.value.field == f"prediction_data.{field}"


def test_a_horizon_beyond_the_end_of_time_ends_there() -> None:
    stored = fields(prediction=1, timestamp="9999-12-31T00:00:00Z", horizon=30)
    assert stored["valid_until"] == datetime.max.replace(tzinfo=UTC)
