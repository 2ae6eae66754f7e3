"""Commands that run until they are told to stop."""

import asyncio
import signal
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from realtime import broadcast


class BackgroundCommand(BaseCommand):
    """One coroutine, until SIGTERM or SIGINT; then it has the time that it needs to finish."""

    async def run(self, stop: asyncio.Event, **options: Any) -> None:
        """Work until `stop` is set."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        if not broadcast.reaches_other_processes():
            raise CommandError(
                "CHANNEL_LAYERS lives in this process only: nothing arrives here. "
                "Use realtime.delivery.layers.RedisStreamLayer."
            )
        try:
            asyncio.run(self._run(**options))
        except ImproperlyConfigured as exc:
            raise CommandError(str(exc)) from exc

    async def _run(self, **options: Any) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self.run(stop, **options)
