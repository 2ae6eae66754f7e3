"""The tables that docs/explanation/scaling.md has room for."""

import math
from collections.abc import Sequence
from typing import Final

from tests.bench.curves.model import (
    FULL,
    HOST_CORES,
    Model,
    Need,
    Verdict,
    check,
    needs,
    processes_of_a_redis,
)
from tests.bench.curves.points import CHECK, Point, of_curve
from tests.bench.report import Cell, arrived, latency, number

COMMON: Final[list[tuple[str, Cell]]] = [
    ("updates/s", number("updates", 0)),
    ("deliveries/s", number("deliveries", 0)),
    ("CPU µs per delivery", number("cpu_us", 2)),
    ("Redis µs per delivery", number("redis_us", 2)),
    ("p50 / p99 / p99.9 ms", latency),
    ("arrived", arrived),
]
COLUMNS: Final[dict[str, list[tuple[str, Cell]]]] = {
    "sockets": [
        *COMMON, ("CPU µs per connect", number("connect_us", 0)),
        ("KiB per socket", number("socket_kib")),
    ],
    "symbols": COMMON,
    "processes": COMMON,
    "rules": [("µs per update, mean", number("mean_us", 2)), ("p99", number("p99_us", 2))],
    "history": [
        ("Redis µs per update", number("redis_us")),
        ("KiB of Redis per stream", number("stream_kib", 0)),
        ("updates resumed", number("resumed", 0)),
        ("ms until they are there", number("resume_ms")),
        ("CPU ms of the server", number("resume_cpu_ms")),
    ],
}  # fmt: skip
TITLES: Final = {"history": "updates kept"}
# Symbol, factor and digits of what the model speaks of.
UNITS: Final = {
    "server_share": ("server, % of a core", 100.0),
    "redis_share": ("Redis, % of a core", 100.0),
    "rss_mib": ("memory, MiB", 1.0),
}


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def curve_table(curve: str, points: Sequence[Point]) -> str:
    columns = COLUMNS[curve]
    rows = [
        [f"{point.x:,}", *(cell({"lost": _lost(point), **point.metrics}) for _, cell in columns)]
        for point in of_curve(points, curve)
    ]
    return markdown([TITLES.get(curve, curve), *(title for title, _ in columns)], rows)


def _lost(point: Point) -> float:
    metrics = point.metrics
    return metrics.get("expected", 0) - metrics.get("received", 0) - metrics.get("folded", 0)


def curve_tables(points: Sequence[Point]) -> str:
    curves = [curve for curve in COLUMNS if of_curve(points, curve)]
    return "\n\n".join(f"### {curve}\n\n{curve_table(curve, points)}" for curve in curves)


def cost_table(model: Model) -> str:
    rows = [
        *(
            [f"server: {name}", _cost(name, cost)]
            for name, cost in model.costs["server_share"].items()
        ),
        *(
            [f"Redis: {name}", _cost(name, cost)]
            for name, cost in model.costs["redis_share"].items()
        ),
        ["server: connect", f"{model.connect_us:,.0f} µs"],
        *(
            [f"memory: {name}", f"{cost:,.0f} MiB" if cost > 1 else f"{cost * 1024:,.1f} KiB"]
            for name, cost in model.costs["rss_mib"].items()
        ),
        ["Redis receives, per update", f"{model.redis_input_bytes:,.0f} bytes"],
        ["Redis sends, per update and process", f"{model.redis_output_bytes:,.0f} bytes"],
    ]
    return markdown(["cost of", ""], rows)


def _cost(name: str, cost: float) -> str:
    """What is not done again and again takes a share of a core."""
    return f"{cost:.1%} of a core" if name.startswith("nothing") else f"{cost * 1e6:,.1f} µs"


def check_table(found: Sequence[Verdict]) -> str:
    rows = []
    for verdict in found:
        unit, factor = UNITS[verdict.quantity]
        values = (verdict.predicted * factor, verdict.measured * factor)
        rows.append([verdict.case, unit, *(f"{v:,.1f}" for v in values), f"{verdict.error:+.0%}"])
    return markdown(["not fitted to", "", "predicted", "measured", "error"], rows)


def need_table(found: Sequence[Need]) -> str:
    rows = [
        [
            need.name, f"{need.processes:,}", f"{need.sockets:,.0f}", f"{need.memory_gib:,.1f} GiB",
            f"{need.redis_share:.0%}", f"{need.redis_mbit:,.0f} Mbit/s",
        ]
        for need in found
    ]  # fmt: skip
    return markdown(["", "processes", "sockets", "memory", "Redis, of a core", "it sends"], rows)


def _redis_limit(most: float) -> str:
    if math.isinf(most):
        return "What Redis sends to a further process costs it too little to be measured."
    return f"One Redis with {FULL:.0%} of a core serves {most:,.0f} processes."


def model_tables(model: Model, points: Sequence[Point]) -> str:
    parts = ["### The model", cost_table(model)]
    if of_curve(points, CHECK):
        parts += ["### The check", check_table(check(model, points))]
    parts += [
        f"### What is needed (a host has {HOST_CORES} cores, each {FULL:.0%} busy)",
        need_table(needs(model)),
        _redis_limit(processes_of_a_redis(model)),
    ]
    return "\n\n".join(parts)
