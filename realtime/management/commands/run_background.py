"""`manage.py run_background`: runs all background workers in one process."""

import argparse
import asyncio
from typing import Any, Final

from django.core.management.base import CommandParser

from realtime.alerts.engine import run_alerts
from realtime.bars.recorder import run_recorder
from realtime.management.background import BackgroundCommand, Work, keep_running
from realtime.predictions.resolve import run_outcomes
from realtime.retention import run_retention
from realtime.webhooks.stale_streams import run_freshness
from realtime.webhooks.worker import run_webhooks

WORKS: Final[dict[str, Work]] = {
    "record_bars": run_recorder,
    "resolve_predictions": run_outcomes,
    "watch_freshness": run_freshness,
    "run_alerts": run_alerts,
    "deliver_webhooks": run_webhooks,
    "prune_history": run_retention,
}


class Command(BackgroundCommand):
    help = (
        "Do the work of several commands in one process: "
        f"{', '.join(WORKS)}. Each of them is also a command of its own, for machines that have "
        "more to do; work that fails is started again automatically. Ends on SIGTERM or SIGINT."
    )
    is_worker = False  # its works are

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only",
            type=_names,
            default=list(WORKS),
            metavar="NAME,NAME",
            help=f"some of {', '.join(WORKS)} (default: all)",
        )

    async def run(self, stop: asyncio.Event, **options: Any) -> None:
        await keep_running({name: WORKS[name] for name in options["only"]}, stop)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in WORKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(WORKS)}")
    return list(dict.fromkeys(names))
