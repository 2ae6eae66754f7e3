"""`manage.py run_alerts`: evaluates alert rules until SIGTERM or SIGINT."""

import asyncio

from realtime.alerts.engine import run_alerts
from realtime.management.background import BackgroundCommand


class Command(BackgroundCommand):
    help = (
        "Evaluate alert rules on market data and predictions, store what fires and send it. "
        "Continues where it stopped; several such processes share the symbols."
    )

    async def run(self, stop: asyncio.Event, **options: object) -> None:
        await run_alerts(stop)
