"""What a probe says: how bad it is, what it saw, and the way out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from realtime.access.redact import redact

Level = Literal["ok", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "warning", "error")


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject` names what was looked at; `way_out` is empty where nothing is wrong."""

    subject: str
    level: Level
    text: str
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """Looks at one thing; `run` may block for `seconds`, and may raise what it likes."""

    name: str
    run: Callable[[], Iterable[Finding]]
    seconds: float = 10.0


def ok(subject: str, text: str) -> Finding:
    return Finding(subject, "ok", redact(text))


def warning(subject: str, text: str, way_out: str) -> Finding:
    return Finding(subject, "warning", redact(text), way_out)


def error(subject: str, text: str, way_out: str) -> Finding:
    return Finding(subject, "error", redact(text), way_out)


def worst(findings: Iterable[Finding]) -> Level:
    return max((finding.level for finding in findings), key=LEVELS.index, default="ok")
