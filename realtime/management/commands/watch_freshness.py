"""`manage.py watch_freshness`: events for streams that become quiet, until SIGTERM or SIGINT."""

import asyncio

from realtime.management.background import BackgroundCommand
from realtime.webhooks.stale_streams import run_freshness


class Command(BackgroundCommand):
    help = (
        "Watch all streams of market data and predictions, and send the webhook event stream_stale "
        "when one goes quiet for longer than expected (REALTIME_EXPECTED_INTERVAL_…)."
    )

    async def run(self, stop: asyncio.Event, **options: object) -> None:
        await run_freshness(stop)
