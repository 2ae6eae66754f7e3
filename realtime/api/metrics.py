"""The project's numbers for monitoring, in Prometheus' text format.

Web processes publish their numbers with the leases of `connections.py`, so any of them can answer
for all. A process is named by its id in Redis, and a restarted process has a new id: its counters
are new series to Prometheus, not counters that decrease.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from django.utils import timezone
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from realtime.api.total_metrics import of_totals
from realtime.connections import connection_manager
from realtime.delivery.totals import totals
from realtime.models import WebhookDelivery
from realtime.streams import CHANNELS
from realtime.version import VERSION
from realtime.workers import WorkerState, read_workers

# Seconds that a worker which keeps up may take to start a delivery that is due.
OVERDUE: Final = timedelta(seconds=10)

_OF_WORKER: Final = ("worker", "process")
Family = type[CounterMetricFamily] | type[GaugeMetricFamily]

# Name in a lease -> kind, name, help, and the divisor that gives the unit.
_OF_PROCESSES: Final[Mapping[str, tuple[Family, str, str, int]]] = {
    "sent": (CounterMetricFamily, "ara_messages_sent", "Messages sent to sockets.", 1),
    "folded": (
        CounterMetricFamily, "ara_updates_folded",
        "Updates replaced by a newer one while the client did not read.", 1,
    ),
    "replayed": (
        CounterMetricFamily, "ara_updates_replayed", "Missed updates replayed to clients.", 1,
    ),
    "lost": (
        CounterMetricFamily, "ara_updates_lost",
        "Updates that left the history before the process received them.", 1,
    ),
    "waiting_bytes": (
        GaugeMetricFamily, "ara_outbox_bytes",
        "Bytes that wait for clients that do not read.", 1,
    ),
    "late_us": (
        GaugeMetricFamily, "ara_event_loop_delay_seconds",
        "How late timers fire: the delay that a busy process adds to each update.", 1_000_000,
    ),
    "cpu_us": (
        CounterMetricFamily, "ara_process_cpu_seconds", "Processor time used.", 1_000_000,
    ),
    "memory_bytes": (
        GaugeMetricFamily, "ara_process_resident_memory_bytes", "Resident memory.", 1,
    ),
}  # fmt: skip


class _Numbers(Collector):
    """Reads all numbers again for each request; raises StatisticsUnavailable."""

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "ara_info", "Always 1; the label is the version.", labels=["version"]
        )
        info.add_metric([VERSION], 1)
        yield info
        yield from _of_project()
        yield from _of_processes(connection_manager.get_activity())
        yield from _of_webhooks()
        yield from _of_workers(read_workers())
        yield from of_totals(totals.read())


def _of_project() -> Iterator[Metric]:
    counts = connection_manager.get_counts()
    stale = connection_manager.get_stale_streams()
    connections = GaugeMetricFamily("ara_connections", "Open WebSockets.", labels=["channel"])
    quiet = GaugeMetricFamily(
        "ara_stale_streams", "Subscribed streams quiet past their interval.", labels=["channel"]
    )
    for channel in CHANNELS:
        connections.add_metric([channel], counts.get(channel, 0))
        if channel != "alerts":
            quiet.add_metric([channel], len(stale.get(channel, ())))
    yield connections
    yield quiet


def _of_processes(activity: Mapping[str, Mapping[str, int]]) -> Iterator[Metric]:
    for name, (family, title, text, unit) in _OF_PROCESSES.items():
        metric = family(title, text, labels=["process"])
        for process, numbers in activity.items():
            if name in numbers:
                metric.add_metric([process], numbers[name] / unit)
        yield metric
    for prefix, title, text, label in (
        ("opened:", "ara_connections_opened", "WebSockets accepted.", "channel"),
        ("closed:", "ara_connections_closed", "WebSockets closed by the server, by code.", "code"),
    ):
        counter = CounterMetricFamily(title, text, labels=["process", label])
        for process, numbers in activity.items():
            for name, number in sorted(numbers.items()):
                if name.startswith(prefix):
                    counter.add_metric([process, name.removeprefix(prefix)], number)
        yield counter


def _of_webhooks() -> Iterator[Metric]:
    pending = WebhookDelivery.objects.filter(status=WebhookDelivery.Status.PENDING)
    yield GaugeMetricFamily(
        "ara_webhook_deliveries_pending",
        "Webhook deliveries that wait to be sent, or sent again.",
        pending.count(),
    )
    now = timezone.now()
    late = pending.filter(next_attempt_at__lte=now - OVERDUE, endpoint__enabled=True)
    late = late.exclude(endpoint__hold_until__gt=now)  # for a digest, or in quiet hours
    yield GaugeMetricFamily(
        "ara_webhook_deliveries_overdue",
        "Webhook deliveries that no worker has taken in time.",
        late.count(),
    )


def _of_workers(states: Sequence[WorkerState]) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "ara_worker_lag_seconds", "By how much a background worker is behind.", labels=_OF_WORKER
    )
    age = GaugeMetricFamily(
        "ara_worker_step_age_seconds", "Time since a worker's last step.", labels=_OF_WORKER
    )
    hangs = GaugeMetricFamily("ara_worker_hangs", "1: the worker hangs.", labels=_OF_WORKER)
    seen = GaugeMetricFamily(
        "ara_worker_seen_age_seconds", "Time since a process last wrote.", labels=_OF_WORKER
    )
    done = CounterMetricFamily(
        "ara_worker_updates", "Updates, predictions, deliveries or rows handled.", labels=_OF_WORKER
    )
    restarts = CounterMetricFamily(
        "ara_worker_restarts", "Times that a worker failed and began again.", labels=_OF_WORKER
    )
    for each in states:
        labels = [each.worker, each.process]
        age.add_metric(labels, each.step_age)
        seen.add_metric(labels, each.seen)
        done.add_metric(labels, each.done)
        restarts.add_metric(labels, each.restarts)
        hangs.add_metric(labels, int(each.hangs))
        if each.lag is not None:
            lag.add_metric(labels, each.lag)
    yield from (lag, age, hangs, seen, done, restarts)


def exposition() -> bytes:
    """All numbers as Prometheus reads them; raises StatisticsUnavailable, BackendUnavailable."""
    return generate_latest(_Numbers())
