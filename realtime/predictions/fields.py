"""The fields of StoredPrediction, from a prediction's data. Pure.

Predictions come from the configured predictor and from other publishers, with the names of the
customer's document (`predicted_price`, `confidence`, `timestamp`) or shorter ones (`prediction`).
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from realtime.broadcast import InvalidUpdate
from realtime.values import in_utc

# The accepted names of each value; the first one present counts.
PRICE: Final = ("predicted_price", "prediction")
LOWER: Final = ("lower_bound", "lower")
UPPER: Final = ("upper_bound", "upper")
LAST: Final = ("last_price", "current_price")

STEPS: Final = {"1d": timedelta(days=1), "1m": timedelta(minutes=1), "update": timedelta(0)}
MAX_HORIZON: Final = 365
MAX_TEXT: Final = 64


def prediction_fields(data: Mapping[str, object], now: datetime) -> dict[str, object]:
    """The fields of a StoredPrediction but its symbol; raises InvalidUpdate naming the field.

    Only the price is required. The default `horizon` is one step, the default `step` a day, and the
    default `timestamp` is `now`.
    """
    horizon, step = _horizon(data), _step(data)
    as_of = _moment(data, "timestamp") or now
    lower, upper = _price(data, LOWER), _price(data, UPPER)
    price = _price(data, PRICE)
    if price is None:
        raise InvalidUpdate(
            f"prediction_data.{PRICE[0]}", f"is missing; the price is expected in {PRICE[0]}"
            f" (or {', '.join(PRICE[1:])})"
        )  # fmt: skip
    if (lower is None) != (upper is None):
        missing = LOWER[0] if lower is None else UPPER[0]
        raise InvalidUpdate(f"prediction_data.{missing}", "is missing; give both bounds or neither")
    if lower is not None and upper is not None and not lower <= price <= upper:
        field = LOWER[0] if lower > price else UPPER[0]
        raise InvalidUpdate(
            f"prediction_data.{field}",
            f"the bounds {lower:g} to {upper:g} do not enclose the predicted price {price:g}",
        )
    valid_until = _moment(data, "valid_until") or later(as_of, horizon * STEPS[step])
    if valid_until < as_of:
        raise InvalidUpdate("prediction_data.valid_until", "lies before timestamp")
    return {
        "model": _text(data, "model"),
        "model_version": _text(data, "model_version"),
        "source": _text(data, "source"),
        "horizon": horizon,
        "step": step,
        "predicted_price": price,
        "lower_bound": lower,
        "upper_bound": upper,
        "confidence": _confidence(data),
        "last_price": _price(data, LAST),
        "as_of": as_of,
        "valid_until": valid_until,
    }


def later(moment: datetime, by: timedelta) -> datetime:
    """`moment + by`, or the latest datetime if that overflows."""
    try:
        return moment + by
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _price(data: Mapping[str, object], names: tuple[str, ...]) -> float | None:
    for name in names:
        if data.get(name) is not None:
            price = _number(data, name)
            if not 0 < price < math.inf:
                raise InvalidUpdate(f"prediction_data.{name}", f"{data[name]} is not above zero")
            return price
    return None


def _number(data: Mapping[str, object], name: str) -> float:
    value = data[name]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidUpdate(f"prediction_data.{name}", f"{value!r} is not a number")
    try:
        return float(value)
    except (OverflowError, ValueError):  # ValueError: a signaling NaN
        raise InvalidUpdate(f"prediction_data.{name}", "is too large for a price") from None


def _confidence(data: Mapping[str, object]) -> float | None:
    if data.get("confidence") is None:
        return None
    confidence = _number(data, "confidence")
    if not 0 <= confidence <= 1:
        raise InvalidUpdate(
            "prediction_data.confidence", f"{confidence:g} is not a probability from 0 to 1"
        )
    return confidence


def _horizon(data: Mapping[str, object]) -> int:
    horizon = data.get("horizon")
    if horizon is None:
        return 1
    if isinstance(horizon, bool) or not isinstance(horizon, int):
        raise InvalidUpdate("prediction_data.horizon", f"{horizon!r} is not a number of steps")
    if not 1 <= horizon <= MAX_HORIZON:
        raise InvalidUpdate("prediction_data.horizon", f"must lie within 1 to {MAX_HORIZON} steps")
    return horizon


def _step(data: Mapping[str, object]) -> str:
    step = data.get("step")
    if step is None:
        return "1d"
    if not isinstance(step, str) or step not in STEPS:
        raise InvalidUpdate("prediction_data.step", f"{step!r} is not one of {', '.join(STEPS)}")
    return str(step)


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidUpdate(f"prediction_data.{name}", "must be a string")
    if len(value) > MAX_TEXT or "\0" in value:
        raise InvalidUpdate(
            f"prediction_data.{name}", f"must be a string of at most {MAX_TEXT} characters"
        )
    return value


def _moment(data: Mapping[str, object], name: str) -> datetime | None:
    """An aware datetime in UTC; a text without zone is UTC."""
    value = data.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, datetime):
            raise ValueError
        return in_utc(moment)
    except (ValueError, OverflowError):
        raise InvalidUpdate(
            f"prediction_data.{name}", f"{value!r} is not a time such as 2024-01-01T12:00:00Z"
        ) from None
