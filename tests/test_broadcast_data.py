"""What may be published and what not, and how values look to a client."""

import collections
import enum
import json
import types
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.utils.safestring import mark_safe

from realtime.broadcast import (
    Broadcast,
    InvalidUpdate,
    Publication,
    alert_update,
    broadcast_market_data,
    broadcast_prediction_update,
    market_data_update,
    prediction_update,
    send_alert,
)
from realtime.payloads import MAX_DEPTH
from realtime.protocol import update_data

# What is refused ------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


endless: dict[str, Any] = {}
endless["x"] = endless
nan, inf = float("nan"), float("inf")

REFUSED: list[tuple[Any, str, str]] = [
    ({"price": nan}, ".price", "nan is not JSON; send null or leave the field out"),
    ({"price": inf}, ".price", "inf is not JSON"),
    ({"price": -inf}, ".price", "-inf is not JSON"),
    ({"price": Decimal("NaN")}, ".price", "NaN is not JSON"),
    ({"price": Decimal("sNaN")}, ".price", "sNaN is not JSON"),
    ({"price": Decimal("Infinity")}, ".price", "Infinity is not JSON"),
    ({"price": Decimal("1E+999")}, ".price", "1E+999 is not JSON"),
    ({"price": 10**400}, ".price", "is too large for a number; send a string"),
    ({"price": 10**5000}, ".price", "is too large for a number; send a string"),
    ({"bids": [1, {"price": nan}]}, ".bids[1].price", "nan is not JSON"),
    ({"bids": (1, [2, nan])}, ".bids[1][1]", "nan is not JSON"),
    ({"a": {"b c": {"d": {1}}}}, ".a.b c.d", "a set is not JSON; convert it"),
    ({"x": b"bytes"}, ".x", "a bytes is not JSON"),
    ({"x": date(2024, 1, 1)}, ".x", "a date is not JSON"),
    ({"x": timedelta(1)}, ".x", "a timedelta is not JSON"),
    ({"x": Colour.RED}, ".x", "a Colour is not JSON"),
    ({"x": object()}, ".x", "a object is not JSON"),
    ({"x": 1j}, ".x", "a complex is not JSON"),
    ({"x": (n for n in ())}, ".x", "a generator is not JSON"),
    ({"x": "\ud800"}, ".x", "holds half of a surrogate pair, which is not UTF-8"),
    ({"x": {"\udfff": 1}}, ".x", "holds half of a surrogate pair"),
    ({1: 2}, "", "has the key 1; JSON keys are strings"),
    ({"x": {None: 1}}, ".x", "has the key None; JSON keys are strings"),
    (endless, ".x" * MAX_DEPTH, "is nested more than 32 levels deep"),
    ([1], "", "must be a JSON object (a dict), not list"),
    ("{}", "", "must be a JSON object (a dict), not str"),
    (None, "", "must be a JSON object (a dict), not NoneType"),
    ({"x": "a" * 65536}, "", "an update may have 65536 (REALTIME_MAX_MESSAGE_BYTES)"),
    ({"x": "€" * 21900}, "", "bytes as JSON; an update may have 65536"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "path", "reason"), REFUSED)
@pytest.mark.parametrize(
    ("update", "argument"),
    [
        (lambda data: market_data_update("AAPL", data), "market_data"),
        (lambda data: prediction_update("AAPL", data), "prediction_data"),
        (lambda data: alert_update(data), "alert_data"),
    ],
)
def test_bad_data_is_refused_with_its_path(
    update: Callable[[Any], Broadcast], argument: str, data: Any, path: str, reason: str
) -> None:
    with pytest.raises(InvalidUpdate) as caught:
        update(data)
    assert caught.value.field == argument + path
    assert reason in caught.value.reason
    assert str(caught.value) == f"{caught.value.field}: {caught.value.reason}"


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [
        ("", "symbol is empty"),
        ("A B", "symbol may hold"),
        ("*", "symbol may hold"),
        ("A" * 33, "more than 32 characters"),
        ("ﬀ", "symbol may hold"),
        (None, "must be a string, not NoneType"),
        (b"AAPL", "must be a string, not bytes"),
    ],
)
@pytest.mark.parametrize("function", [broadcast_market_data, broadcast_prediction_update])
def test_a_bad_symbol_is_refused(
    function: Callable[[Any, Any], Publication], symbol: Any, reason: str
) -> None:
    with pytest.raises(InvalidUpdate, match=reason) as caught:
        function(symbol, {})
    assert caught.value.field == "symbol"


@pytest.mark.parametrize("user_id", [0, -1, True, 1.0, "1", "alice"])
def test_a_bad_user_is_refused(user_id: Any) -> None:
    with pytest.raises(InvalidUpdate) as caught:
        send_alert({}, user_id=user_id)
    assert caught.value.field == "user_id"


def test_the_size_limit_counts_the_whole_update(settings: Any) -> None:
    room = 65536 - len(market_data_update("AAPL", {"x": ""}).body)
    market_data_update("AAPL", {"x": "a" * room})
    with pytest.raises(InvalidUpdate, match="65537 bytes"):
        market_data_update("AAPL", {"x": "a" * (room + 1)})
    settings.REALTIME_MAX_MESSAGE_BYTES = 100
    with pytest.raises(InvalidUpdate, match="an update may have 100"):
        market_data_update("AAPL", {"x": "a" * 100})


# How it is encoded ----------------------------------------------------------------------------


def encoded(value: Any) -> Any:
    """A value as a client reads it."""
    return update_data(market_data_update("AAPL", {"x": value}).body)["x"]


class Float(float):
    """As numpy.float64 is."""


class Timestamp(datetime):
    """As pandas.Timestamp is."""


class Price(Decimal):
    pass


class Side(enum.StrEnum):
    BUY = "buy"


NOON = datetime(2024, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
ENCODED: list[tuple[Any, Any]] = [
    (None, None), (True, True), (0, 0), (-1, -1), (2**63, 2**63), (2**70, 2**70),
    (149.5, 149.5), (1e-7, 1e-7), (1e308, 1e308), (-0.0, -0.0),
    ("", ""), ("Zürich ✓ \U0001f600 \x00 \u2028", "Zürich ✓ \U0001f600 \x00 \u2028"),
    (NOON, "2024-01-01T12:00:00.250000Z"),
    (NOON.astimezone(timezone(timedelta(hours=-5))), "2024-01-01T07:00:00.250000-05:00"),
    ((1, 2), [1, 2]), ([], []), ({}, {}),
    (types.MappingProxyType({"a": 1}), {"a": 1}), (collections.UserDict(a=[1]), {"a": [1]}),
    (collections.defaultdict(int, a=1), {"a": 1}),
    (Float(1.5), 1.5), (Price("1.5"), 1.5), (Side.BUY, "buy"), (mark_safe("<b>"), "<b>"),
    (Timestamp(2024, 1, 1, 12, tzinfo=UTC), "2024-01-01T12:00:00Z"),
    ({"a": [Float(1), {"b": mark_safe("x")}]}, {"a": [1.0, {"b": "x"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "read"), ENCODED)
def test_a_value_is_read_as_it_was_meant(value: Any, read: Any) -> None:
    assert encoded(value) == read


def test_a_decimal_keeps_its_digits() -> None:
    body = market_data_update("AAPL", {"price": Decimal("149.50"), "size": Decimal("0.1") * 3}).body
    assert b'"price":149.50,"size":0.3' in body


@pytest.mark.parametrize("depth", [1, MAX_DEPTH])
def test_nesting_up_to_the_limit_is_published(depth: int) -> None:
    data: dict[str, Any] = {}
    for _ in range(depth - 1):
        data = {"a": data}
    assert json.loads(market_data_update("AAPL", data).body + b"}")["data"] == data


@pytest.mark.parametrize("severity", ["bogus", "HIGH", "", 7, ["high"], {}])
def test_an_alert_with_an_unknown_severity_is_refused_with_the_choices(severity: Any) -> None:
    with pytest.raises(InvalidUpdate, match="severity: must be one of low, medium, high, critical"):
        alert_update({"message": "m", "severity": severity})


@pytest.mark.parametrize("data", [{}, {"severity": None}, {"severity": "critical"}])
def test_an_alert_needs_no_severity(data: dict[str, Any]) -> None:
    assert alert_update(data).alert_id
