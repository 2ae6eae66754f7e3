"""`manage.py record_bars`: records bars of market data until SIGTERM or SIGINT."""

import asyncio

from realtime.bars.recorder import run_recorder
from realtime.management.background import BackgroundCommand


class Command(BackgroundCommand):
    help = (
        "Record market data as bars of a minute and of a day, for charts and predictors. "
        "Goes on where the stored bars end; one such process is enough."
    )

    async def run(self, stop: asyncio.Event, **options: object) -> None:
        await run_recorder(stop)
