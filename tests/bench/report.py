"""Medians of the rounds, the tables, and the machine they come from."""

import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from tests.bench.drive import Metrics
from tests.bench.processes import ROOT
from tests.bench.servers import KINDS

# Rivals that others are divided by, where they were measured.
BASES = {
    "nchan": "Nchan",
    "fastapi": "FastAPI",
    "loop": "bare loop",
    "channels": "Channels on daphne",
}
LABELS = {name: kind.label for name, kind in KINDS.items()}
TITLES = {
    "a": "One symbol",
    "b": "Bursts",
    "c": "Connecting",
    "d": "Slow readers",
    "e": "Publishing from synchronous code",
    "f": "Requested predictions",
    "g": "Alert rules",
    "h": "Attacks by one client",
    "i": "Publishing over HTTP",
    "p": "The page in Chromium",
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
        middle["lost"] = sum(lost(metrics) for metrics in rounds)
        result[key] = middle
    return result


def lost(metrics: Metrics) -> float:
    if "expected" not in metrics:
        return 0
    return metrics["expected"] - metrics["received"] - metrics.get("folded", 0)


# Cells ------------------------------------------------------------------------------------------

Cell = Callable[[Metrics], str]


def number(name: str, digits: int = 1) -> Cell:
    def cell(metrics: Metrics) -> str:
        value = metrics.get(name, math.nan)
        if math.isnan(value):
            return ""
        return "never" if math.isinf(value) else f"{value:,.{digits}f}"

    return cell


def latency(metrics: Metrics) -> str:
    cells = [number(name)(metrics) for name in ("p50_ms", "p99_ms", "p999_ms")]
    return cells[0] if cells[0] in ("", "never") else " / ".join(cells)


def arrived(metrics: Metrics) -> str:
    """Usually everything; folded updates were replaced by newer ones."""
    said = [f"**{metrics['lost']:,.0f} lost**"] if metrics["lost"] else []
    for name in ("folded", "closed"):
        if metrics.get(name):
            said.append(f"{metrics[name]:,.0f} {name}")
    return ", ".join(said) or ("all" if "expected" in metrics else "")


def most(metrics: Metrics) -> str:
    text = number("most_per_second", 0)(metrics)
    # A server that still had time left was waiting for the load generator.
    return f"> {text}" if metrics.get("most_server_share", 1) < 0.9 else text


def alerts(metrics: Metrics) -> str:
    if "alerts_expected" not in metrics:
        return ""
    return f"{metrics['alerts_received']:,.0f} of {metrics['alerts_expected']:,.0f}"


RATE = ("updates/s", number("rate", 0))
ARRIVED = ("arrived", arrived)
CPU = ("CPU us", number("cpu_us", 2))
REDIS = ("Redis us", number("redis_us", 2))
LATENCY = ("p50 / p99 / p99.9 ms", latency)
COLUMNS: dict[str, list[tuple[str, Cell]]] = {
    "a": [RATE, ARRIVED, CPU, REDIS, LATENCY, ("KiB/socket", number("socket_kib"))],
    "saturation": [("deliveries/s", most)],
    "b": [RATE, ARRIVED, CPU, REDIS, LATENCY],
    "c": [("CPU us", number("connect_us", 0)), ("connects/s", number("connects_per_second", 0)),
          ("queries", number("queries", 2)), ("DB connections", number("database_connections", 2))],
    "d": [RATE, ARRIVED, LATENCY, ("p99 / all reading", number("p99_ratio", 2)),
          ("RSS grew by MiB", number("rss_growth_mib")), ("alerts", alerts)],
    "e": [("wall us", number("wall_us")), ("CPU us", number("cpu_us")),
          ("Redis us", number("redis_us"))],
    "f": [("answer ms", number("answer_ms", 2)), ("prediction p50 ms", number("p50_ms", 2)),
          ("p99 ms", number("p99_ms", 2))],
    "g": [("mean us", number("mean_us")), ("p99 us", number("p99_us")),
          ("firing to socket p50 ms", number("p50_ms")), ("p99 ms", number("p99_ms"))],
    "h": [ARRIVED, LATENCY, ("p99 above twice the undisturbed, ms", number("p99_excess_ms")),
          ("RSS grew by MiB", number("rss_growth_mib")),
          ("keys left in Redis", number("redis_keys", 0))],
    "i": [("updates/s", number("rate", 0)), CPU, REDIS, ("p50 ms", number("p50_ms", 2)),
          ("p99 ms", number("p99_ms", 2))],
    "p": [("updates/s", number("rate", 0)), ("frames/s", number("frames")),
          ("main thread, share of a core", number("main_share", 3)),
          ("tab, share of a core", number("tab_share", 3)),
          ("longest task, CPU ms", number("task_ms")),
          ("layout shift", number("layout_shift", 3))],
}  # fmt: skip
RATIO = {
    "a": "cpu_us",
    "b": "cpu_us",
    "c": "connect_us",
    "saturation": "most_per_second",
    "e": "wall_us",
    "i": "cpu_us",
}
# In these each case is a table of its own, in the others a line.
BY_CASE = ("a", "b", "i")


# Tables -----------------------------------------------------------------------------------------


def tables(middle: Medians) -> str:
    groups: dict[tuple[str, str], list[Key]] = {}
    for key in middle:
        workload, case, _ = key
        groups.setdefault((workload, case if workload in BY_CASE else ""), []).append(key)
    order = list(KINDS)
    parts = []
    for (workload, case), keys in sorted(groups.items(), key=lambda group: group[0][0]):
        keys.sort(key=lambda key: order.index(key[2]))
        title = f"{TITLES[workload]}: {case}" if case else TITLES[workload]
        parts.append(f"### ({workload}) {title}\n\n{_table(workload, case, keys, middle)}\n")
    return "\n".join(parts)


def _table(workload: str, case: str, keys: Sequence[Key], middle: Medians) -> str:
    shape = "saturation" if case.endswith("saturation") else workload
    # A column that nobody has something for is left out.
    columns = [column for column in COLUMNS[shape] if any(column[1](middle[key]) for key in keys)]
    ratio = RATIO.get(shape, "")
    bases: dict[str, float] = {}
    for _, _, server in keys if len(keys) > 1 else ():
        base = next(middle[key] for key in keys if key[2] == server)  # its first case
        if server in BASES and ratio in base:
            bases[server] = base[ratio]
    titles = [*(title for title, _ in columns), *(f"/ {BASES[name]}" for name in bases)]
    lines = [["", *titles], ["---", *["---:"] * len(titles)]]
    for key in keys:
        row = middle[key]
        ratios = [f"{row[ratio] / base:.2f}" if ratio in row else "" for base in bases.values()]
        cells = [cell(row) for _, cell in columns]
        lines.append([_label(key, by_case=bool(case)), *cells, *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _label(key: Key, *, by_case: bool) -> str:
    workload, case, server = key
    if workload in "ehp":
        return case
    return LABELS[server] if by_case else f"{LABELS[server]}: {case}"


# The machine ------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    packages = ("channels", "channels-redis", "daphne", "uvicorn", "uvloop", "websockets", "redis")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "commit": described.stdout.strip(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def heading(about: Mapping[str, Any], rows: Sequence[Row], rounds: int, seconds: float) -> str:
    noise = [row.metrics["others_share"] for row in rows if "others_share" in row.metrics] or [0.0]
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    lines = [
        f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, "
        f"Python {about['python']}, {packages}; commit {about['commit']}, {about['time']}.",
        f"Median of {rounds} round(s) of {seconds:g} s. Other programs took "
        f"{statistics.median(noise):.2f} of a core (median; most {max(noise):.2f}).",
        "CPU and Redis: microseconds per delivered message (c: per connection; e, i: per update).",
    ]
    failed = {(row.workload, row.server): row.failed for row in rows if row.failed}
    lines += [f"({key[0]}) {LABELS[key[1]]} failed: {reason}" for key, reason in failed.items()]
    return "\n".join(lines) + "\n"
