"""Sends due deliveries; any number of workers on any number of machines may run.

Every event is sent until its endpoint has answered with 2xx, so it may arrive twice (an answer that
was lost, a worker that was killed), with the same `webhook-id`. No order is promised, since a later
event may arrive while an earlier one waits for a retry; `timestamp` shows the order.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from django.utils import timezone

from realtime import workers
from realtime.aside import set_aside
from realtime.cancelling import cancel
from realtime.conf import conf
from realtime.db import in_database
from realtime.models import WebhookAttempt
from realtime.retry import Retry, Stopped
from realtime.webhooks.queue import Job, claim, finish, prune
from realtime.webhooks.results import AttemptResult
from realtime.webhooks.sender import Sender, WebhookRequest

logger = logging.getLogger(__name__)

# Attempts that one worker makes at a time.
PLACES: Final = 100
# Seconds between two polls for due deliveries while this worker is idle.
POLL: Final = 0.5
TOGETHER: Final = 0.01
# Seconds that running attempts have to finish when the worker is stopped.
GRACE: Final = 3.0
# Seconds after which a single run claims nothing new: other tasks wait for their turn.
ONCE: Final = 60.0
PRUNE_EVERY: Final = 3600.0

INTERRUPTED: Final = AttemptResult(problem=WebhookAttempt.Problem.INTERRUPTED)


async def run_webhooks(stop: asyncio.Event) -> None:
    """Send deliveries as they become due, until `stop` is set.

    Retries while the database is away. An attempt that does not end in time is made again.
    """
    await _Worker(stop).run()


async def deliver_due() -> int:
    """Send due deliveries, for a minute at most; returns the number of attempts.

    Raises django.db.Error if the due deliveries cannot be read.
    """
    return await _Worker(asyncio.Event(), once=True).run()


class _Worker:
    def __init__(self, stop: asyncio.Event, *, once: bool = False) -> None:
        self._stop = stop
        self._once = once
        self._retry = Retry(stop, outages=(DatabaseError,))
        self._attempts: set[asyncio.Task[None]] = set()
        self._made = 0
        self._until = time.monotonic() + ONCE
        self._pruned_at = float("-inf")

    async def run(self) -> int:
        # Certificates are read from files.
        sender = await sync_to_async(Sender)(conf.REALTIME_WEBHOOK_TIMEOUT)
        if not self._once:
            logger.info("sending webhooks")
        try:
            with suppress(Stopped):
                while not self._stop.is_set():
                    idle = not self._attempts
                    jobs = await self._next_jobs()
                    workers.step(lag=self._lag(jobs))
                    for job in jobs:
                        self._start(sender, job)
                    workers.did(len(jobs))
                    if self._once and idle and not jobs:
                        break
                    await self._pause()
        finally:
            await self._end()
            await sender.aclose()
        return self._made

    async def _next_jobs(self) -> list[Job]:
        if self._once:
            return await self._claim() if time.monotonic() < self._until else []
        return await self._retry.until_done(self._claim)

    async def _claim(self) -> list[Job]:
        if time.monotonic() - self._pruned_at > PRUNE_EVERY:
            with set_aside("deleting old webhook deliveries"):
                await in_database(prune)()
            self._pruned_at = time.monotonic()
        return await in_database(claim)(PLACES - len(self._attempts))

    def _lag(self, jobs: list[Job]) -> float | None:
        """Seconds for which the oldest new event has waited; None while no place is free."""
        new = [
            (timezone.now() - each.created_at).total_seconds()
            for job in jobs
            if isinstance(job.request, WebhookRequest)  # messages may wait for their digest
            for each in job.deliveries
            if each.tries == 1
        ]
        return max(new) if new else None if len(self._attempts) >= PLACES else 0.0

    def _start(self, sender: Sender, job: Job) -> None:
        task = asyncio.create_task(self._attempt(sender, job))
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)
        self._made += 1

    async def _attempt(self, sender: Sender, job: Job) -> None:
        outcome = INTERRUPTED
        try:
            now = timezone.now()
            if now < job.send_before:
                outcome = await sender.send(job.request, now)
        except asyncio.CancelledError:
            pass  # the worker is stopping, and the attempt is recorded as interrupted
        except Exception:
            logger.exception("%s", job)
            outcome = AttemptResult(problem=WebhookAttempt.Problem.ANSWER)
        # Stopped: the lease expires, and another worker continues.
        with suppress(Stopped), set_aside(str(job)):
            await self._retry.until_done(lambda: in_database(finish)(job, outcome))

    async def _pause(self) -> None:
        """Wait for the next poll, the end of an attempt (which frees its place), or the stop."""
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait(
                {stopping, *self._attempts}, timeout=POLL, return_when=asyncio.FIRST_COMPLETED
            )
            # Other attempts end together with it: one poll then fills all their places.
            await asyncio.sleep(TOGETHER)
        finally:
            stopping.cancel()

    async def _end(self) -> None:
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=GRACE)
        await cancel(*self._attempts, again=GRACE)
