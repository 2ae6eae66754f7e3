"""Medians of the rounds, the tables, and the figures that this project promises."""

import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.drive import Metrics
from tests.bench.processes import ROOT
from tests.bench.servers import KINDS

# Rivals that others are divided by, where they were measured.
BASES = ("nchan", "loop", "fastapi", "channels")
LABELS = {name: kind.label for name, kind in KINDS.items()}
TITLES = {
    "a": "One symbol",
    "b": "Bursts",
    "c": "Connecting",
    "d": "Slow readers",
    "e": "Publishing from synchronous code",
    "f": "Requested predictions",
}


@dataclass(frozen=True)
class Row:
    """One measurement of one server, or what kept it from being measured."""

    workload: str
    case: str
    server: str
    round: int
    metrics: Metrics
    failed: str | None = None


Key = tuple[str, str, str]  # workload, case, server
Medians = Mapping[Key, Metrics]


def medians(rows: Sequence[Row]) -> dict[Key, Metrics]:
    """Of each metric over the rounds; what was lost is added up, since once is too often."""
    grouped: dict[Key, list[Metrics]] = {}
    for row in rows:
        if row.failed is None:
            grouped.setdefault((row.workload, row.case, row.server), []).append(row.metrics)
    result = {}
    for key, rounds in grouped.items():
        names = {name for metrics in rounds for name in metrics}
        middle = {
            name: statistics.median([metrics[name] for metrics in rounds if name in metrics])
            for name in names
        }
        middle["lost"] = sum(
            metrics["expected"] - metrics["received"] - metrics.get("folded", 0)
            for metrics in rounds
            if "expected" in metrics
        )
        middle["rounds"] = len(rounds)
        result[key] = middle
    return result


# Cells ------------------------------------------------------------------------------------------

Cell = Callable[[Metrics], str]


def number(name: str, digits: int = 1) -> Cell:
    def cell(metrics: Metrics) -> str:
        value = metrics.get(name)
        if value is None or math.isnan(value):
            return ""
        return "never" if math.isinf(value) else f"{value:,.{digits}f}"

    return cell


def latency(metrics: Metrics) -> str:
    names = ("p50_ms", "p99_ms", "p999_ms")
    if math.isinf(metrics.get("p99_ms", 0)):
        return "never"
    return " / ".join(f"{metrics[name]:,.1f}" for name in names if name in metrics)


def losses(metrics: Metrics) -> str:
    """Nothing lost is the normal case, and says so; folded ones were replaced by newer ones."""
    said = []
    if metrics["lost"]:
        said.append(f"**{metrics['lost']:,.0f} lost**")
    if metrics.get("folded"):
        said.append(f"{metrics['folded']:,.0f} folded")
    if metrics.get("closed"):
        said.append(f"{metrics['closed']:,.0f} closed")
    return ", ".join(said) or "all"


def most(metrics: Metrics) -> str:
    text = number("most_per_second", 0)(metrics)
    # A server that still had time left was waiting for the load generator.
    return f"> {text}" if metrics.get("most_server_share", 1) < 0.9 else text


def alerts(metrics: Metrics) -> str:
    if "alerts_expected" not in metrics:
        return ""
    return f"{metrics['alerts_received']:,.0f} of {metrics['alerts_expected']:,.0f}"


SENT: list[tuple[str, Cell]] = [
    ("updates/s", number("rate")),
    ("arrived", losses),
    ("CPU us", number("cpu_us", 2)),
    ("Redis us", number("redis_us", 2)),
    ("p50 / p99 / p99.9 ms", latency),
]
COLUMNS: dict[str, list[tuple[str, Cell]]] = {
    "a": [*SENT, ("KiB/socket", number("socket_kib"))],
    "saturation": [("deliveries/s", most)],
    "b": SENT,
    "c": [("CPU us", number("connect_us", 0)), ("connects/s", number("connects_per_second", 0)),
          ("queries", number("queries", 2))],
    "d": [*SENT, ("p99, times that with all reading", number("p99_ratio", 2)),
          ("RSS grew by MiB", number("rss_growth_mib")), ("alerts", alerts)],
    "e": [("wall us", number("wall_us")), ("CPU us", number("cpu_us")),
          ("Redis us", number("redis_us"))],
    "f": [("answer ms", number("answer_ms", 2)), ("prediction p50 ms", number("p50_ms", 2)),
          ("p99 ms", number("p99_ms", 2))],
}  # fmt: skip
RATIO = {"a": "cpu_us", "b": "cpu_us", "c": "connect_us", "saturation": "most_per_second"}


# Tables -----------------------------------------------------------------------------------------


def tables(middle: Medians) -> str:
    cases: dict[tuple[str, str], list[str]] = {}
    for workload, case, server in middle:
        cases.setdefault((workload, case), []).append(server)
    parts = []
    for (workload, case), servers in sorted(cases.items(), key=lambda item: item[0][0]):
        ordered = sorted(
            servers, key=lambda name: list(LABELS).index(name) if name in LABELS else 0
        )
        parts.append(f"\n({workload}) {TITLES[workload]}: {case}\n")
        parts.append(_table(workload, case, ordered, middle))
    return "\n".join(parts)


def _table(workload: str, case: str, servers: Sequence[str], middle: Medians) -> str:
    shape = "saturation" if case.endswith("saturation") else workload
    rows = {server: middle[workload, case, server] for server in servers}
    # A column that nobody has something for is left out.
    columns = [
        (title, cell) for title, cell in COLUMNS[shape] if any(cell(row) for row in rows.values())
    ]
    ratio = RATIO.get(shape)
    bases = [name for name in BASES if ratio and name in rows and len(rows) > 1]
    titles = ["server", *(title for title, _ in columns), *(f"/ {LABELS[name]}" for name in bases)]
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)]]
    for server, row in rows.items():
        ratios = [f"{row[ratio] / rows[name][ratio]:.2f}" for name in bases if ratio]
        lines.append([LABELS.get(server, server), *(cell(row) for _, cell in columns), *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Figures ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One promise: a value that must not be above its limit."""

    what: str
    value: float
    limit: float

    @property
    def reached(self) -> bool:
        return self.value <= self.limit


def figures(middle: Medians) -> list[Figure]:
    """Those whose parts were all measured."""
    many = {(w, case, s): m for (w, case, s), m in middle.items()}
    sockets = min(
        (case for w, case, _ in many if w == "a" and "sat" not in case), key=_count, default=""
    )
    most_sockets = max(
        (case for w, case, _ in many if w == "a" and "sat" not in case), key=_count, default=""
    )
    burst = next((case for w, case, _ in many if w == "b"), "")
    stalled = next((case for w, case, _ in many if w == "d" and "do not read" in case), "")
    bulk = next((case for w, case, _ in many if w == "e" and case.startswith("broadcast_many")), "")
    stock = next((case for w, case, _ in many if w == "e" and "group_send" in case), "")

    def value(key: Key, name: str) -> float:
        return many.get(key, {}).get(name, math.nan)

    def ratio(workload: str, case: str, name: str, server: str, base: str) -> float:
        return value((workload, case, server), name) / value((workload, case, base), name)

    key_connect = value(("c", "a key for each", "ara"), "connect_us")
    all_figures = [
        Figure("(a) CPU per delivery / Nchan", ratio("a", sockets, "cpu_us", "ara", "nchan"), 1.3),
        Figure(
            "(a) CPU per delivery / FastAPI", ratio("a", sockets, "cpu_us", "ara", "fastapi"), 0.5
        ),
        Figure(
            "(a) CPU per delivery / the loop on bare ASGI",
            ratio("a", sockets, "cpu_us", "ara", "loop"),
            0.5,
        ),
        Figure(
            "(a) CPU per delivery / Channels on daphne",
            ratio("a", sockets, "cpu_us", "ara", "channels"),
            0.05,
        ),
        Figure(
            "(a) on daphne, CPU per delivery / Channels on daphne",
            ratio("a", sockets, "cpu_us", "ara-daphne", "channels"),
            0.25,
        ),
        Figure("(b) CPU us per delivery", value(("b", burst, "ara"), "cpu_us"), 2.5),
        Figure(
            "(c) CPU of a connect with a key / FastAPI's anonymous one",
            key_connect / value(("c", "anonymous", "fastapi"), "connect_us"),
            1.0,
        ),
        Figure(
            "(c) CPU of a connect with a key / the bare loop's anonymous one",
            key_connect / value(("c", "anonymous", "loop"), "connect_us"),
            1.0,
        ),
        Figure("(a) KiB per idle socket", value(("a", most_sockets, "ara"), "socket_kib"), 20.0),
        Figure(
            "(a) memory per idle socket / FastAPI",
            ratio("a", most_sockets, "socket_kib", "ara", "fastapi"),
            1.0,
        ),
        Figure(
            "(d) p99 of the fast readers / with all reading",
            value(("d", stalled, "ara"), "p99_ratio"),
            1.2,
        ),
        Figure(
            "(d) alerts that fast readers missed",
            value(("d", stalled, "ara"), "alerts_expected")
            - value(("d", stalled, "ara"), "alerts_received"),
            0.0,
        ),
        Figure(
            "(e) one broadcast / async_to_sync(group_send), wall",
            value(("e", "broadcast_market_data", "ara"), "wall_us")
            / value(("e", stock, "ara"), "wall_us"),
            0.125,
        ),
        Figure(
            "(e) broadcast_many, wall us per message", value(("e", bulk, "ara"), "wall_us"), 25.0
        ),
    ]
    return [figure for figure in all_figures if not math.isnan(figure.value)]


def _count(case: str) -> int:
    return int(case.partition(" ")[0])


def figures_table(found: Sequence[Figure]) -> str:
    lines = ["\nFigures\n", "| what | measured | at most | |", "| --- | ---: | ---: | --- |"]
    for figure in found:
        verdict = "reached" if figure.reached else "**missed**"
        lines.append(f"| {figure.what} | {figure.value:.3g} | {figure.limit:g} | {verdict} |")
    return "\n".join(lines)


# The machine, and the file ----------------------------------------------------------------------


def machine() -> dict[str, Any]:
    model = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    packages = ("channels", "channels-redis", "daphne", "uvicorn", "uvloop", "websockets", "redis")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "commit": commit,
        "load_average": os.getloadavg(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def save(
    path: Path, about: Mapping[str, Any], rows: Sequence[Row], found: Sequence[Figure]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": about,
        "figures": [{**asdict(figure), "reached": figure.reached} for figure in found],
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def heading(about: Mapping[str, Any], rounds: int, size: Any) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    load = about["load_average"][0]
    return (
        f"Median of {rounds} round(s) of {size.seconds:g} s, {about['time']}, commit "
        f"{about['commit']}. {about['cpu']}, {about['cores']} cores (load average at the start "
        f"{load:.1f}), Linux {about['kernel']}, Python {about['python']}, {packages}. CPU and "
        "Redis are microseconds per delivered message (c: per connection; e: per published one)."
    )
