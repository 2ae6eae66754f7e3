"""The figures that this project promises, from the medians of a run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.drive import Metrics
from tests.bench.report import Medians

OURS = "ara"


@dataclass(frozen=True)
class Figure:
    """One promise: a value that must not be above its limit."""

    what: str
    value: float
    limit: float

    @property
    def reached(self) -> bool:
        return self.value <= self.limit


class Finder:
    """Values by workload, the start of a case, server and metric; NaN for what was not measured."""

    def __init__(self, middle: Medians) -> None:
        self._middle = middle

    def value(self, workload: str, case: str, server: str, name: str) -> float:
        return self._metrics(workload, case, server).get(name, math.nan)

    def _metrics(self, workload: str, case: str, server: str) -> Metrics:
        for (has_workload, has_case, has_server), metrics in self._middle.items():
            if (has_workload, has_server) == (workload, server) and has_case.startswith(case):
                return metrics
        return {}

    def worst(self, workload: str, name: str) -> float:
        """The largest value over all cases; NaN if none was measured."""
        return max(self._values(workload, name), default=math.nan)

    def least(self, workload: str, name: str) -> float:
        return min(self._values(workload, name), default=math.nan)

    def _values(self, workload: str, name: str) -> list[float]:
        return [
            m[name] for (each, _, _), m in self._middle.items() if each == workload and name in m
        ]

    def ratio(self, workload: str, case: str, name: str, base: str, server: str = OURS) -> float:
        return self.value(workload, case, server, name) / self.value(workload, case, base, name)

    def most_sockets(self) -> str:
        """The case of (a) with the most sockets: the best look at memory."""
        cases = {case for workload, case, _ in self._middle if workload == "a"}
        counts = [int(case.partition(" ")[0].replace(",", "")) for case in cases]
        return f"{max(counts, default=0):,} sockets"


def figures(middle: Medians, sockets: int) -> list[Figure]:
    """Those whose parts were all measured."""
    find = Finder(middle)
    one, many = f"{sockets:,} sockets", find.most_sockets()
    key = find.value("c", "a key for each", OURS, "connect_us")
    stalled = "10% do not read"
    missed_alerts = find.value("d", stalled, OURS, "alerts_expected") - find.value(
        "d", stalled, OURS, "alerts_received"
    )
    single = find.value("e", "broadcast_market_data", OURS, "wall_us")
    found = [
        ("(a) CPU per delivery / Nchan's", find.ratio("a", one, "cpu_us", "nchan"), 1.3),
        ("(a) CPU per delivery / FastAPI's", find.ratio("a", one, "cpu_us", "fastapi"), 0.5),
        ("(a) CPU per delivery / the bare loop's", find.ratio("a", one, "cpu_us", "loop"), 0.5),
        ("(a) CPU per delivery / that of Channels on daphne",
         find.ratio("a", one, "cpu_us", "channels"), 0.05),
        ("(a) on daphne, CPU per delivery / that of Channels on daphne",
         find.ratio("a", one, "cpu_us", "channels", "ara-daphne"), 0.25),
        ("(a) KiB per idle socket", find.value("a", many, OURS, "socket_kib"), 20.0),
        ("(a) memory per idle socket / FastAPI's",
         find.ratio("a", many, "socket_kib", "fastapi"), 1.0),
        ("(b) CPU us per delivery", find.value("b", "", OURS, "cpu_us"), 2.5),
        ("(c) CPU of a connect with a key of its own / FastAPI's anonymous one",
         key / find.value("c", "anonymous", "fastapi", "connect_us"), 1.0),
        ("(c) the same / the bare loop's anonymous one",
         key / find.value("c", "anonymous", "loop", "connect_us"), 1.0),
        ("(c) CPU us of a connect with a key that is known, above an anonymous one",
         find.value("c", "one key for all", OURS, "connect_us")
         - find.value("c", "anonymous", OURS, "connect_us"), 100.0),
        ("(d) p99 of the fast readers / with all reading",
         find.value("d", stalled, OURS, "p99_ratio"), 1.2),
        ("(d) alerts that the fast readers missed", missed_alerts, 0.0),
        ("(e) wall of one broadcast / of async_to_sync(group_send)",
         single / find.value("e", "async_to_sync", OURS, "wall_us"), 0.125),
        ("(e) wall us of each of many", find.value("e", "broadcast_many", OURS, "wall_us"), 25.0),
        ("(e) CPU of each of many recorded predictions / of a single one",
         find.value("e", "record_predictions", OURS, "cpu_us")
         / find.value("e", "record_prediction", OURS, "cpu_us"), 0.2),
        ("(f) ms from a request to its prediction, p50",
         find.value("f", "one client", OURS, "p50_ms"), 20.0),
        ("(g) us of an update among 100,000 rules that fires none",
         find.value("g", "100,000 rules", OURS, "mean_us"), 50.0),
        ("(g) ms from a price that fires a rule to the socket, p99",
         find.value("g", "1,000 updates", OURS, "p99_ms"), 50.0),
        ("(h) ms of p99 beside an attack above twice the undisturbed p99, worst attack",
         find.worst("h", "p99_excess_ms"), 50.0),
        ("(h) keys that an attack leaves in Redis, worst attack",
         find.worst("h", "redis_keys"), 10.0),
        ("(i) CPU of a publish over HTTP / that of a FastAPI handler",
         find.ratio("i", "one at a time", "cpu_us", "fastapi"), 1.0),
        ("(i) p99 of 16 at a time / FastAPI's",
         find.ratio("i", "16 at a time", "p99_ms", "fastapi"), 1.2),
        ("(i) CPU us of each of 1,000 updates in a request",
         find.value("i", "1,000 updates", OURS, "cpu_us"), 25.0),
        ("(p) share of a core that the tab takes, the worse of cards and table",
         find.worst("p", "tab_share"), 0.25),
        ("(p) CPU ms of the longest task", find.worst("p", "task_ms"), 100.0),
        ("(p) ms between two frames", 1000 / find.least("p", "frames"), 1000 / 30),
        ("(p) layout shift since the page was opened", find.worst("p", "layout_shift"), 0.1),
    ]  # fmt: skip
    return [Figure(*figure) for figure in found if not math.isnan(figure[1])]


def table(found: Sequence[Figure]) -> str:
    lines = ["| figure | measured | at most | |", "| --- | ---: | ---: | --- |"]
    for figure in found:
        verdict = "reached" if figure.reached else "**missed**"
        lines.append(f"| {figure.what} | {figure.value:.3g} | {figure.limit:g} | {verdict} |")
    return "\n".join(lines)
