"""One measurement of a curve."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.drive import Metrics

# Measured like the other curves, but not fitted to.
CHECK: Final = "check"


@dataclass(frozen=True)
class Point:
    """What was measured at `x` of a curve; `case` says what ran."""

    curve: str
    x: int
    case: str
    metrics: Metrics


def from_document(document: Mapping[str, Any]) -> list[Point]:
    return [Point(**fields) for fields in document["points"]]


def to_document(about: Mapping[str, Any], points: Sequence[Point]) -> dict[str, Any]:
    return {"machine": about, "points": [asdict(point) for point in points]}


def of_curve(points: Sequence[Point], curve: str) -> list[Point]:
    return sorted((point for point in points if point.curve == curve), key=lambda point: point.x)


def with_load(points: Sequence[Point]) -> list[Point]:
    """Those of a server that delivers, which are all that the model speaks of."""
    return [point for point in points if point.metrics.get("deliveries")]


# Relative to this, as all of its files are.
IMAGES: Final = Path(__file__).resolve().parents[3] / "docs" / "images"
