"""The model: what a server and Redis use, as a sum of costs for each thing that they do.

Costs are fitted to the points of the curves by least squares of the relative error, in which small
values, of a few clock ticks, count less; none of the costs is negative. The points of the check are
not fitted to.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import nnls

from tests.bench.curves.points import CHECK, Point, with_load
from tests.bench.drive import Metrics

Term = Callable[[Metrics], float]
IDLE: Final = "nothing, in each process"
# A call publishes one update or several at once. Every process reads every update.
TERMS: Final[Mapping[str, Mapping[str, Term]]] = {
    "server_share": {
        IDLE: lambda m: m["processes"],
        "delivery": lambda m: m["deliveries"],
        "update, in each process": lambda m: m["updates"] * m["processes"],
        "call, in each process": lambda m: m["calls"] * m["processes"],
    },
    "redis_share": {
        "nothing": lambda m: 1.0,
        "update": lambda m: m["updates"],
        "call": lambda m: m["calls"],
        "update, for each process": lambda m: m["updates"] * m["processes"],
    },
    "rss_mib": {
        "process": lambda m: m["processes"],
        "supervisor of several": lambda m: m["supervisors"],
        "socket": lambda m: m["sockets"],
    },
}
Costs = Mapping[str, float]
# Of the largest value: what is far below it is not measured well.
SMALL: Final = 0.02


class TooFewPoints(Exception):
    """Raised when the costs do not follow from what was measured."""


@dataclass(frozen=True)
class Model:
    """The cost of each term, by what it is a part of; medians of what needs no fit."""

    costs: Mapping[str, Costs]
    connect_us: float
    redis_input_bytes: float
    redis_output_bytes: float

    def predict(self, quantity: str, metrics: Metrics) -> float:
        terms = TERMS[quantity]
        return sum(cost * terms[name](metrics) for name, cost in self.costs[quantity].items())


@dataclass(frozen=True)
class Verdict:
    """One quantity of a measurement that the model was not fitted to."""

    case: str
    quantity: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1 if self.measured else math.inf


def fit(points: Sequence[Point]) -> Model:
    fitted = [point.metrics for point in with_load(points) if point.curve != CHECK]
    most = max(map(len, TERMS.values()))
    if len(fitted) <= most:
        raise TooFewPoints(f"{len(fitted)} points with deliveries; the model needs {most + 1}")
    return Model(
        {quantity: _fit(quantity, fitted) for quantity in TERMS},
        *(
            float(np.median([metrics[name] for metrics in fitted]))
            for name in ("connect_us", "redis_input_bytes", "redis_output_bytes")
        ),
    )


def _fit(quantity: str, fitted: Sequence[Metrics]) -> Costs:
    terms = TERMS[quantity]
    used = np.array([metrics[quantity] for metrics in fitted])
    weights = 1 / (used + SMALL * used.max())
    values = [[term(metrics) for term in terms.values()] for metrics in fitted]
    rows = np.array(values) * weights[:, np.newaxis]
    # Of the same size, or the small ones are lost in the solver's tolerance.
    scale = rows.max(axis=0)
    if not scale.all() or np.linalg.matrix_rank(rows / scale) < len(terms):
        raise TooFewPoints(
            "the loads do not differ enough; it needs sockets, symbols and processes"
        )
    found, _ = nnls(rows / scale, used * weights)
    return dict(zip(terms, map(float, found / scale), strict=True))


def check(model: Model, points: Sequence[Point]) -> list[Verdict]:
    return [
        Verdict(
            point.case, quantity, model.predict(quantity, point.metrics), point.metrics[quantity]
        )
        for point in points
        if point.curve == CHECK
        for quantity in TERMS
    ]


# What a number of sockets needs -----------------------------------------------------------------

# 5,000 streams with an update every ten seconds each; a socket follows 20 of them.
UPDATES: Final = 500.0
CALLS: Final = 100.0
PER_SOCKET: Final = 2.0
# The other half is for bursts, and for the sockets of a server that restarts.
FULL: Final = 0.5
HOST_CORES: Final = 8
PLACES: Final = {"one core": 1, "one host": HOST_CORES, "ten hosts": 10 * HOST_CORES}
MILLION: Final = 1_000_000


@dataclass(frozen=True)
class Need:
    """What so many processes, each on a core, hold, and what they need."""

    name: str
    processes: int
    sockets: float
    memory_gib: float
    redis_share: float
    redis_mbit: float


def needs(model: Model) -> list[Need]:
    each = sockets_of_a_process(model)
    if each < 1:
        return []
    places = {**PLACES, "a million sockets": math.ceil(MILLION / each)}
    return [_need(model, name, count, each * count) for name, count in places.items()]


def sockets_of_a_process(model: Model) -> float:
    costs = model.costs["server_share"]
    idle = model.predict("server_share", _metrics(1, 0.0))
    return (FULL - idle) / (costs["delivery"] * PER_SOCKET) if costs["delivery"] else 0.0


def processes_of_a_redis(model: Model) -> float:
    """How many processes one Redis serves with half of a core."""
    alone = model.predict("redis_share", _metrics(0, 0.0))
    each = model.predict("redis_share", _metrics(1, 0.0)) - alone
    return max(0.0, FULL - alone) / each if each else math.inf


def _need(model: Model, name: str, processes: int, sockets: float) -> Need:
    sockets = float(MILLION) if sockets > MILLION and name.endswith("sockets") else sockets
    metrics = _metrics(processes, sockets)
    return Need(
        name, processes, sockets, model.predict("rss_mib", metrics) / 1024,
        model.predict("redis_share", metrics),
        model.redis_output_bytes * UPDATES * processes * 8 / 1e6,
    )  # fmt: skip


def _metrics(processes: int, sockets: float) -> Metrics:
    # On each host a supervisor starts them, unless there is only one.
    supervisors = math.ceil(processes / HOST_CORES) if processes > 1 else 0
    return {
        "processes": processes, "supervisors": supervisors, "sockets": sockets,
        "deliveries": sockets * PER_SOCKET, "updates": UPDATES, "calls": CALLS,
    }  # fmt: skip
