"""What is read and written over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ara_client.events import MarketData, Prediction, moment
from ara_client.positions import Position


@dataclass(frozen=True, slots=True)
class Bar:
    """Prices of one interval that begins at `start`, in the currency of the symbol.

    `volume` in shares or units. `closed`: the interval has ended, the bar will not change.
    """

    start: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool = True


@dataclass(frozen=True, slots=True)
class Publication:
    """Where an update went: its stream and its number there.

    `receivers`: server processes that have received it. `stored`: of an alert, whether it waits in
    the inbox of users who are away. `warnings`, by field: what looks wrong, and was published.
    """

    channel: str
    stream: str
    position: Position
    receivers: int
    stored: bool | None = None
    warnings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded prediction: `prediction_id` is what its outcome will name.

    At `valid_until` its horizon has passed, and it is scored.
    """

    prediction_id: str
    symbol: str
    valid_until: datetime
    position: Position
    receivers: int


@dataclass(frozen=True, slots=True)
class Score:
    """How good a model was for a symbol over its last `outcomes`; None: none of them tells.

    `mean_absolute_error` in the currency of the symbol; the others are shares from 0 to 1:
    `within_bounds` of prices within the bounds (to compare with `nominal`, which was claimed),
    `directional_accuracy` of directions foretold. `skill`: 1 is perfect, 0 as good as "the price
    will not change", negative is worse.
    """

    symbol: str
    model: str
    outcomes: int
    mean_absolute_error: float | None
    directional_accuracy: float | None
    within_bounds: float | None
    nominal: float | None
    skill: float | None


def bar(row: Mapping[str, Any]) -> Bar:
    return Bar(
        moment(row["start"]), row["open"], row["high"], row["low"], row["close"], row["volume"],
        row.get("closed", True),
    )  # fmt: skip


def publication(row: Mapping[str, Any]) -> Publication:
    return Publication(
        row["channel"], row["stream"], Position(row["epoch"], row["offset"]), row["receivers"],
        row.get("stored"), row.get("warnings", {}),
    )  # fmt: skip


def recorded(row: Mapping[str, Any]) -> Recorded:
    return Recorded(
        row["prediction_id"], row["symbol"], moment(row["valid_until"]),
        Position(row["epoch"], row["offset"]), row["receivers"],
    )  # fmt: skip


def newest(row: Mapping[str, Any]) -> MarketData:
    """An entry of `market-data/latest`."""
    return MarketData(
        symbol=row["symbol"], data=row["data"], timestamp=moment(row["timestamp"]),
        offset=row["offset"], epoch=row["epoch"], snapshot=True,
    )  # fmt: skip


def stored_prediction(row: Mapping[str, Any]) -> Prediction:
    """An entry of `predictions/latest`: what was stored, whose fields are `data` here."""
    data = {name: value for name, value in row.items() if value is not None}
    return Prediction(
        symbol=data.pop("symbol"), timestamp=moment(data.pop("created_at")),
        offset=data.pop("offset", None), epoch=data.pop("epoch", None), data=data, snapshot=True,
    )  # fmt: skip


def score(row: Mapping[str, Any]) -> Score:
    names = ("mean_absolute_error", "directional_accuracy", "within_bounds", "nominal", "skill")
    return Score(row["symbol"], row["model"], row["outcomes"], *(row[name] for name in names))
