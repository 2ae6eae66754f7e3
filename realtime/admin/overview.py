"""What runs, and how well: processes, streams, background workers, backends."""

from collections.abc import Mapping
from typing import Final, TypedDict

from django.conf import settings
from django.utils import timezone

from realtime.api.health import database_state, redis_state
from realtime.api.metrics import OVERDUE
from realtime.connections import StatisticsUnavailable, connection_manager
from realtime.delivery.layers import shared_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.models import WebhookDelivery
from realtime.streams import CHANNELS
from realtime.workers import WorkerState, read_workers

# What a complete installation runs, by the names of the workers.
_WORKERS: Final = {
    "run_alerts": "Alert engine",
    "record_bars": "Recorder of bars",
    "resolve_predictions": "Resolver of predictions",
    "deliver_webhooks": "Webhooks",
    "watch_freshness": "Watch of quiet streams",
    "prune_history": "Deletion of old rows",
    "run_feed": "Feed",
}
NO_FEED: Final = "none is set"  # the updates come from elsewhere
# Seconds behind, from which a worker is marked.
_LATE: Final = 10.0


class WorkerLine(TypedDict):
    name: str
    process: str
    state: str
    lag: float | None
    step_age: float | None
    restarts: int


def overview() -> dict[str, object]:
    """Everything that the page shows; without Redis, what is known without it."""
    redis, database = redis_state(), database_state()
    found: dict[str, object] = {"redis": redis, "database": database, "now": timezone.now()}
    found["no_feed"] = NO_FEED
    if database == "ok":
        found |= _webhooks()
    try:
        return found | _statistics()
    except (StatisticsUnavailable, BackendUnavailable) as exc:
        return found | {"problem": str(exc)}


def _webhooks() -> dict[str, int]:
    pending = WebhookDelivery.objects.filter(status=WebhookDelivery.Status.PENDING)
    late = pending.filter(next_attempt_at__lte=timezone.now() - OVERDUE, endpoint__enabled=True)
    return {"webhooks_pending": pending.count(), "webhooks_overdue": late.count()}


def _statistics() -> dict[str, object]:
    processes = connection_manager.get_by_process()
    counts = connection_manager.get_counts()
    stale = connection_manager.get_stale_streams()
    layer = shared_layer()
    streams = dict.fromkeys(CHANNELS, 0) if layer is None else layer.count_streams()
    return {
        "channels": [
            (channel, counts.get(channel, 0), streams[channel], stale.get(channel, []))
            for channel in CHANNELS
        ],
        "processes": [_process(name, fields) for name, fields in sorted(processes.items())],
        "total": sum(counts.values()),
        "workers": _workers(read_workers()),
    }


def _process(name: str, fields: Mapping[str, int]) -> dict[str, object]:
    return {
        "name": name,
        "counts": [fields.get(channel, 0) for channel in CHANNELS],
        "per_second": fields.get("done:sent_per_second", 0),
        "late_ms": fields.get("done:late_us", 0) / 1000,
        "memory_mib": fields.get("done:memory_bytes", 0) / 2**20,
    }


def _workers(states: list[WorkerState]) -> list[WorkerLine]:
    lines = [_line(each) for each in states]
    seen = {each.worker for each in states}
    lines += [
        WorkerLine(
            name=title, process="", state=_missing(name), lag=None, step_age=None, restarts=0
        )
        for name, title in _WORKERS.items()
        if name not in seen
    ]
    return sorted(lines, key=lambda line: (line["name"], line["process"]))


def _missing(worker: str) -> str:
    if worker == "run_feed" and not hasattr(settings, "REALTIME_FEED"):
        return NO_FEED
    return "not running"


def _line(state: WorkerState) -> WorkerLine:
    late = state.lag is not None and state.lag > _LATE
    return {
        "name": _WORKERS.get(state.worker, state.worker),
        "process": state.process,
        "state": "hangs" if state.hangs else "late" if late else "ok",
        "lag": state.lag,
        "step_age": state.step_age,
        "restarts": state.restarts,
    }
