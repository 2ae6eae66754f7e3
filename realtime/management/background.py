"""Commands that run until a signal stops them."""

import asyncio
import faulthandler
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from realtime import broadcast
from realtime.cancelling import cancel_others
from realtime.retry import set_within
from realtime.standalone.supervisor import WELL_SECONDS, restart_delay
from realtime.workers import Worker, reporting, run_as

logger = logging.getLogger(__name__)

Work = Callable[[asyncio.Event], Awaitable[None]]

# Seconds after a signal within which the process must end, including its threads.
LAST_SECONDS: Final = 20.0
# Seconds for which a connection to the database is used, where CONN_MAX_AGE says nothing.
KEEP_SECONDS: Final = 60


class BackgroundCommand(BaseCommand):
    """Runs a coroutine until SIGTERM or SIGINT, and then lets it finish.

    `is_worker`: others can read its signs of life.
    """

    is_worker: ClassVar[bool] = True

    async def run(self, stop: asyncio.Event, **options: object) -> None:
        """Work until `stop` is set."""
        raise NotImplementedError

    def handle(self, *args: object, **options: object) -> None:
        if not broadcast.reaches_other_processes():
            raise CommandError(
                "CHANNEL_LAYERS lives in this process only: nothing arrives here. "
                "Use realtime.delivery.layers.RedisStreamLayer."
            )
        try:
            with _kept_connections():
                run = self._run_as_worker if self.is_worker else self._run
                asyncio.run(until_told(lambda stop: run(stop, options)))
        except ImproperlyConfigured as exc:
            raise CommandError(str(exc)) from exc

    async def _run(self, stop: asyncio.Event, options: Mapping[str, object]) -> None:
        await self.run(stop, **options)

    async def _run_as_worker(self, stop: asyncio.Event, options: Mapping[str, object]) -> None:
        name = type(self).__module__.rpartition(".")[2]
        await run_reported(name, lambda stop: self.run(stop, **options), stop)


async def run_reported(name: str, work: Work, stop: asyncio.Event) -> None:
    """Run `work` as a worker whose signs of life others can read."""
    async with reporting([name]) as workers:
        run_as(workers[name])
        await work(stop)


@contextmanager
def _kept_connections() -> Iterator[None]:
    """Keeps database connections open for a while: workers query several times a second."""
    before = {alias: database["CONN_MAX_AGE"] for alias, database in connections.settings.items()}
    try:
        for alias, age in before.items():
            connections.settings[alias]["CONN_MAX_AGE"] = KEEP_SECONDS if age == 0 else age
        yield
    finally:
        for alias, age in before.items():
            connections.settings[alias]["CONN_MAX_AGE"] = age


async def until_told(work: Work) -> None:
    """Run `work` with an event that SIGTERM and SIGINT set, and leave none of its tasks behind.

    A process that then does not end in time logs where each of its threads is, and exits.
    """
    stop = asyncio.Event()

    def told() -> None:
        stop.set()
        faulthandler.dump_traceback_later(LAST_SECONDS, exit=True, file=2)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    try:
        await work(stop)
    finally:
        await cancel_others()


async def keep_running(works: Mapping[str, Work], stop: asyncio.Event) -> None:
    """Run all workers until `stop` is set; each one that fails is logged and restarted alone.

    Raises ImproperlyConfigured when one of them does, since a restart would not help.
    """
    async with reporting(works) as workers:
        tasks = [
            asyncio.create_task(_keep(workers[name], work, stop)) for name, work in works.items()
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            stop.set()
            await asyncio.wait(tasks)
    for task in tasks:
        task.result()


async def _keep(worker: Worker, work: Work, stop: asyncio.Event) -> None:
    run_as(worker)
    name, deaths = worker.name, 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            await work(stop)
        except ImproperlyConfigured:
            raise
        except Exception:
            logger.exception("%s failed", name)
        if stop.is_set():
            return
        deaths = 1 if time.monotonic() - began > WELL_SECONDS else deaths + 1
        worker.restarts += 1
        delay = restart_delay(deaths)
        logger.error("%s ended; it begins again in %g s", name, delay)
        await set_within(stop, delay)
