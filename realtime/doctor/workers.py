"""Background workers that are missing or hang, streams that are stale, and who is connected."""

from collections.abc import Iterator, Sequence
from typing import Final

from realtime.connections import connection_manager
from realtime.doctor.findings import Finding, error, ok, warning
from realtime.management.commands.run_background import WORKS
from realtime.workers import WorkerState, read_workers

# Updates or seconds of delay that people notice.
_LATE_SECONDS: Final = 10.0


def examine_workers() -> Iterator[Finding]:
    workers = read_workers()
    missing = [name for name in WORKS if name not in {state.worker for state in workers}]
    if missing == list(WORKS):
        yield warning(
            "workers", "no background worker is running: no bars, outcomes, alert rules, webhooks",
            "Run python manage.py run_background.",
        )  # fmt: skip
    elif missing:
        yield warning(
            "workers", f"nothing runs {', '.join(missing)}",
            f"Run python manage.py run_background --only {','.join(missing)}, unless Celery or "
            "cron does this here.",
        )  # fmt: skip
    yield from map(_worker, workers)


def _worker(state: WorkerState) -> Finding:
    subject = f"worker {state.worker}"
    where = f"process {state.pid} on {state.host}"
    if state.hangs:
        return error(
            subject, f"hangs in {where}: its last step was {state.step_age:.0f} s ago",
            f"Restart it. `kill -TERM {state.pid}` prints where its threads are before it ends.",
        )  # fmt: skip
    if state.lag is not None and state.lag > _LATE_SECONDS:
        return warning(
            subject, f"is {state.lag:.0f} s behind in {where}",
            "Look at the load of its host and of the database; start one more of it.",
        )  # fmt: skip
    restarts = f", restarted {state.restarts} times" if state.restarts else ""
    return ok(subject, f"{where}, last step {state.step_age:.0f} s ago{restarts}")


def examine_sockets() -> Iterator[Finding]:
    counts, processes = connection_manager.get_counts(), connection_manager.get_processes()
    yield ok("connections", f"{sum(counts.values())} in {len(processes)} processes")
    stale = [
        f"{channel} {symbol}"
        for channel, symbols in connection_manager.get_stale_streams().items()
        for symbol in symbols
    ]
    if stale:
        yield warning(
            "streams", f"{len(stale)} that clients read are stale: {_some(stale)}",
            "Look at what publishes them (a feed, a model), or at REALTIME_EXPECTED_INTERVAL.",
        )  # fmt: skip


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
