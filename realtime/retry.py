"""Try again with full-jitter backoff while a backend is away, until told to stop."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from django.db import DataError, IntegrityError

from realtime import workers
from realtime.broadcast import PublishFailed

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds: the bound of the first pause, and what doubling it ends at.
FIRST: Final = 0.5
MOST: Final = 20.0
# What a database that is there says about the values of one row: waiting changes nothing.
BAD_VALUES: Final = (DataError, IntegrityError)


def full_jitter(attempt: int, chance: float) -> float:
    """Seconds before try `attempt` (0, 1, 2, ...); `chance` lies within 0 to 1.

    Any time up to the bound: publishers that lost the same server do not all return at once.
    """
    return chance * min(MOST, FIRST * 2.0 ** min(attempt, 16))


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, for so many seconds at most; whether it was set.

    Not with `asyncio.wait_for`: before Python 3.12 that loses a cancellation which comes in the
    same turn of the loop as the end of what it waits for, and the task never ends.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


class Stopped(Exception):
    """Raised when `stop` was set while something was being tried again."""


@dataclass
class Retry:
    """One caller's patience. An outage is reported once when it begins and once when it is over.

    `outages` are the errors that are waited out, unless they are about the values of one row.
    """

    stop: asyncio.Event
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    outages: tuple[type[Exception], ...] = (PublishFailed,)
    away: bool = field(default=False, init=False)

    async def until_done(self, operation: Callable[[], Awaitable[T]]) -> T:
        """The operation's result; repeats it during an outage. Raises Stopped."""
        attempt = 0
        while True:
            try:
                result = await operation()
            except BAD_VALUES:
                raise
            except self.outages as exc:
                if not self.away:
                    logger.warning("%s (trying again until it is back)", exc)
                self.away = True
                workers.step()  # it is the backend that is away, not the worker
            else:
                if self.away:
                    logger.warning("back after %d more tries", attempt)
                self.away = False
                return result
            await self._pause(full_jitter(attempt, self.random()))
            attempt += 1

    async def _pause(self, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self.sleep(seconds))
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait((sleeping, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
        if self.stop.is_set():
            raise Stopped
