"""Metrics of what all processes have done together, from the hash of delivery/totals.py."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from realtime.delivery.totals import BUCKET, BUCKETS, SEPARATOR, SUM

# Name in the hash -> name, help, labels.
_COUNTERS: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "published": (
        "ara_updates_published", "Updates that were published, without repetitions.",
        ("channel", "way"),
    ),
    "handshakes": ("ara_handshakes", "Connections that clients have begun.", ("endpoint",)),
    "refused": (
        "ara_handshakes_refused", "Connections and requests that were refused at once.",
        ("endpoint", "reason"),
    ),
    "requests": (
        "ara_http_requests", "Requests of the REST API.", ("route", "method", "status"),
    ),
    "redis_reconnects": ("ara_redis_reconnects", "Connections to Redis that came back.", ()),
}  # fmt: skip
_HISTOGRAMS: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "delivery": (
        "ara_delivery_latency_seconds", "Time from a publication to the write to sockets; sampled.",
        ("channel",),
    ),
    "request_seconds": (
        "ara_http_request_duration_seconds", "Time in which requests were answered.",
        ("route", "method"),
    ),
    "redis_round_trip": (
        "ara_redis_round_trip_seconds", "Time of one pipeline of commands to Redis; sampled.", (),
    ),
}  # fmt: skip
_BOUNDS: Final = (*map(str, BUCKETS), "+Inf")

Rows = list[tuple[list[str], int]]


def of_totals(totals: Mapping[str, int]) -> Iterator[Metric]:
    rows = _by_name(totals)
    for name, (title, text, labels) in _COUNTERS.items():
        counter = CounterMetricFamily(title, text, labels=labels)
        for values, number in rows[name]:
            if len(values) == len(labels):  # those of another version may differ
                counter.add_metric(values, number)
        yield counter
    for name, (title, text, labels) in _HISTOGRAMS.items():
        yield _histogram(HistogramMetricFamily(title, text, labels=labels), len(labels), rows[name])


def _by_name(totals: Mapping[str, int]) -> Mapping[str, Rows]:
    rows: defaultdict[str, Rows] = defaultdict(list)
    for field, number in sorted(totals.items()):
        name, *values = field.split(SEPARATOR)
        rows[name].append((values, number))
    return rows


def _histogram(family: HistogramMetricFamily, labels: int, rows: Rows) -> Metric:
    parts: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for values, number in rows:
        if len(values) == labels + 1:
            parts[tuple(values[:-1])][values[-1]] = number
    for of, each in parts.items():
        family.add_metric(of, _buckets(each), each.get(SUM, 0) / 1e6)
    return family


def _buckets(parts: Mapping[str, int]) -> Sequence[tuple[str, float]]:
    counts = [parts.get(f"{BUCKET}{index}", 0) for index in range(len(_BOUNDS))]
    return list(zip(_BOUNDS, accumulate(counts), strict=True))
