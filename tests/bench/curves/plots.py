"""The curves as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from matplotlib import rc_context
from matplotlib.figure import Figure

from tests.bench.curves.points import Point, of_curve


class Line(NamedTuple):
    """One metric of a curve, in a panel of its own."""

    metric: str
    label: str


PANELS: Final[dict[str, Sequence[Line]]] = {
    "sockets": (Line("cpu_us", "CPU µs per delivery"), Line("p99_ms", "p99 latency, ms"),
                Line("rss_mib", "memory, MiB")),
    "symbols": (Line("cpu_us", "CPU µs per delivery"), Line("redis_us", "Redis µs per delivery"),
                Line("p99_ms", "p99 latency, ms")),
    "processes": (Line("cpu_us", "CPU µs per delivery"), Line("redis_us", "Redis µs per delivery")),
    "rules": (Line("mean_us", "µs per update, mean"), Line("p99_us", "µs per update, p99")),
    "history": (Line("redis_us", "Redis µs per update"), Line("stream_kib", "KiB per stream"),
                Line("resume_ms", "ms to resume")),
}  # fmt: skip


def draw_all(points: Sequence[Point], directory: Path) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    curves = [curve for curve in PANELS if of_curve(points, curve)]
    return [draw(curve, of_curve(points, curve), directory) for curve in curves]


def draw(curve: str, points: Sequence[Point], directory: Path) -> Path:
    lines = PANELS[curve]
    figure = Figure(figsize=(3.6 * len(lines), 3), layout="constrained")
    for axes, line in zip(figure.subplots(1, len(lines)), lines, strict=True):
        values = [point.metrics[line.metric] for point in points]
        axes.plot([point.x for point in points], values, marker="o")
        axes.set(xlabel=curve, title=line.label, ylim=(0, 1.1 * max(values) or 1))
        axes.set_xscale("linear" if curve == "processes" else "log")
        axes.grid(alpha=0.3)
    # The same points make the same file: no date, and no random ids.
    path = directory / f"curve-{curve}.svg"
    with rc_context({"svg.hashsalt": "curves", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None}, facecolor="white")
    return path
