"""The conditions of rules about a symbol, one class for each `type`. Pure.

A condition watches one *metric*, a number that updates of the symbol change, and compares it with
one level, so that rules can be indexed by level.

A new condition also needs a description, its evaluation, documentation and a case in the oracle of
the tests: mypy and `tests/alerts/test_conditions.py` fail until it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, assert_never

from msgspec import Meta, Struct

from realtime.streams import Channel

# Seconds. A window of a week is longer than any history that is held.
MAX_SECONDS: Final = 7 * 86_400
# Conditions in one rule, and how deep `all` and `any` may be nested in it.
MAX_CONDITIONS: Final = 20
MAX_DEPTH: Final = 3

Direction = Literal["up", "down", "any"]
MetricName = Literal[
    "price", "volume", "confidence", "predicted_return", "direction",
    "move_up", "move_down", "move_any", "age",
]  # fmt: skip
MOVES: Final[Mapping[Direction, MetricName]] = {
    "up": "move_up",
    "down": "move_down",
    "any": "move_any",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a symbol. `window`: for moves, how far back they look, in milliseconds."""

    name: MetricName
    channel: Channel
    window: int = 0


PRICE: Final = Metric("price", "market-data")
VOLUME: Final = Metric("volume", "market-data")
CONFIDENCE: Final = Metric("confidence", "predictions")
PREDICTED_RETURN: Final = Metric("predicted_return", "predictions")
DIRECTION: Final = Metric("direction", "predictions")


class Condition(
    Struct, tag_field="type", forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """`event`: true only at the update where it happens, not for a period."""

    event: ClassVar[bool] = False

    @property
    def metric(self) -> Metric:
        raise NotImplementedError

    @property
    def level(self) -> float:
        raise NotImplementedError

    @property
    def problem(self) -> tuple[str, str] | None:
        """The invalid field, and why; types and bounds have been checked already."""
        return None


class Leveled(Condition, kw_only=True):
    """A metric beyond `value`; true until the metric is back at `rearm` (default: `value`)."""

    value: float
    rearm: float | None = None

    watched: ClassVar[Metric] = PRICE
    upward: ClassVar[bool] = True
    least: ClassVar[float] = -math.inf
    most: ClassVar[float] = math.inf

    @property
    def metric(self) -> Metric:
        return self.watched

    @property
    def level(self) -> float:
        return self.value

    @property
    def problem(self) -> tuple[str, str] | None:
        for name, number in (("value", self.value), ("rearm", self.rearm)):
            if number is not None and not math.isfinite(number):
                return name, "must be a finite number"
            if number is not None and not self.least <= number <= self.most:
                most = "" if math.isinf(self.most) else f" and at most {self.most:g}"
                return name, f"must be at least {self.least:g}{most}"
        back = self.value if self.rearm is None else self.rearm
        if back > self.value if self.upward else back < self.value:
            side = "at or below" if self.upward else "at or above"
            return "rearm", f"must be {side} value, {self.value:g}"
        return None


class Above(Leveled, tag="above", kw_only=True):
    """The price is above `value`."""


class Below(Leveled, tag="below", kw_only=True):
    """The price is below `value`."""

    upward = False


class CrossesAbove(Leveled, tag="crosses_above", kw_only=True):
    """The price was at or below `value`, and with this update is above."""

    event = True


class CrossesBelow(Leveled, tag="crosses_below", kw_only=True):
    """The price was at or above `value`, and with this update is below."""

    event = True
    upward = False


class VolumeAbove(Leveled, tag="volume_above", kw_only=True):
    """`volume` of the market data is above `value`."""

    watched = VOLUME
    least = 0.0


class ConfidenceAbove(Leveled, tag="confidence_above", kw_only=True):
    """`confidence` of the newest prediction is above `value`."""

    watched = CONFIDENCE
    least = 0.0
    most = 1.0


class ConfidenceBelow(ConfidenceAbove, tag="confidence_below", kw_only=True):
    """`confidence` of the newest prediction is below `value`."""

    upward = False


class PredictedReturnAbove(Leveled, tag="predicted_return_above", kw_only=True):
    """The newest prediction is more than `value` percent above the last price."""

    watched = PREDICTED_RETURN
    least = -100.0


class PredictedReturnBelow(PredictedReturnAbove, tag="predicted_return_below", kw_only=True):
    """The newest prediction is less than `value` percent above the last price."""

    upward = False


class PercentMove(Condition, tag="percent_move", kw_only=True):
    """The price is `value` percent or more from its lowest (up) or highest (down) in `window`."""

    value: Annotated[float, Meta(gt=0, le=100_000)]
    window: Annotated[float, Meta(ge=1, le=MAX_SECONDS)]
    direction: Direction = "any"

    @property
    def metric(self) -> Metric:
        return Metric(MOVES[self.direction], "market-data", milliseconds(self.window))

    @property
    def level(self) -> float:
        return self.value


class DirectionFlip(Condition, tag="direction_flip", kw_only=True):
    """The newest prediction points up and the one before pointed down, or the other way round."""

    event = True

    @property
    def metric(self) -> Metric:
        return DIRECTION

    @property
    def level(self) -> float:
        return 0.0


class Stale(Condition, tag="stale", kw_only=True):
    """No update of the symbol's stream for `seconds`."""

    seconds: Annotated[float, Meta(ge=1, le=MAX_SECONDS)]
    channel: Literal["market-data", "predictions"] = "market-data"

    @property
    def metric(self) -> Metric:
        return Metric("age", self.channel)

    @property
    def level(self) -> float:
        return float(milliseconds(self.seconds))


class AllOf(Struct, tag_field="type", tag="all", forbid_unknown_fields=True, kw_only=True):
    """All of `conditions`."""

    conditions: Annotated[list["Node"], Meta(min_length=1)]


class AnyOf(Struct, tag_field="type", tag="any", forbid_unknown_fields=True, kw_only=True):
    """At least one of `conditions`."""

    conditions: Annotated[list["Node"], Meta(min_length=1)]


Leaf = (
    Above
    | Below
    | CrossesAbove
    | CrossesBelow
    | PercentMove
    | VolumeAbove
    | ConfidenceAbove
    | ConfidenceBelow
    | PredictedReturnAbove
    | PredictedReturnBelow
    | DirectionFlip
    | Stale
)
Node = Leaf | AllOf | AnyOf


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def describe(node: Node) -> str:
    """`price above 150`, for messages and lists."""
    match node:
        case AllOf() | AnyOf():
            word = " and " if isinstance(node, AllOf) else " or "
            return word.join(
                f"({describe(each)})" if isinstance(each, AllOf | AnyOf) else describe(each)
                for each in node.conditions
            )
        case PercentMove():
            verb = {"up": "up", "down": "down", "any": "moved"}[node.direction]
            return f"price {verb} {node.value:g} % within {node.window:g} s"
        case DirectionFlip():
            return "predicted direction flips"
        case Stale():
            return f"no {node.channel} for {node.seconds:g} s"
        case CrossesAbove() | CrossesBelow():
            return f"price crosses {'above' if node.upward else 'below'} {node.value:.10g}"
        case Leveled():
            side = "above" if node.upward else "below"
            return f"{node.metric.name.replace('_', ' ')} {side} {node.value:.10g}"
        case _:
            assert_never(node)
