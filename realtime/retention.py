"""Deletes old predictions, and old bars of a minute. Bars of a day are kept.

Scores stay, since they are of the last outcomes whatever becomes of the rows.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from django.db import Error as DatabaseError
from django.db.models import QuerySet
from django.utils import timezone

from realtime import workers
from realtime.aside import set_aside
from realtime.conf import conf
from realtime.db import in_database
from realtime.models import Bar, StoredPrediction
from realtime.retry import BAD_VALUES, Retry, Stopped, set_within
from realtime.values import days_before

logger = logging.getLogger(__name__)

# Rows that one statement deletes: SQLite has one writer, and others wait for it.
BATCH: Final = 1000
# Seconds between two times.
EVERY: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Pruned:
    predictions: int
    bars: int

    def __str__(self) -> str:
        return f"{self.predictions} predictions and {self.bars} bars of a minute deleted"


async def run_retention(stop: asyncio.Event, *, every: float = EVERY) -> None:
    """Prune now, and again after each `every` seconds, until `stop` is set."""
    retry = Retry(stop, outages=(DatabaseError,))
    # Not the thread that all others share: there may be much to delete.
    pruning = in_database(prune, thread_sensitive=False)
    with contextlib.suppress(Stopped):
        while not stop.is_set():
            pruned = await retry.until_done(pruning)
            logger.info("%s", pruned)
            workers.did(pruned.predictions + pruned.bars)
            workers.step(lag=0.0, rest=every)
            await set_within(stop, every)
            workers.step()


def prune(now: datetime | None = None) -> Pruned:
    """Delete what is older than its setting says; 0 days: keep everything.

    A bar's age is that of its last writing: a replay's bars are years old on the market's clock.
    """
    now = now or timezone.now()
    predictions = bars = 0
    with set_aside("deleting old predictions"):
        if since := days_before(now, conf.REALTIME_PREDICTION_DAYS):
            predictions = _delete(StoredPrediction.objects.filter(created_at__lt=since))
    with set_aside("deleting old bars"):
        if since := days_before(now, conf.REALTIME_MINUTE_BAR_DAYS):
            minutes = Bar.objects.filter(interval=Bar.Interval.MINUTE, updated_at__lt=since)
            bars = _delete(minutes.order_by())
    return Pruned(predictions, bars)


def _delete(rows: QuerySet[Any]) -> int:
    total = 0
    kept: set[int] = set()  # what the tables of others hold on to

    def delete(pks: list[int]) -> None:
        nonlocal total
        # The condition again: a bar may have been written again meanwhile.
        total += rows.filter(pk__in=pks).delete()[0]

    while pks := list(rows.exclude(pk__in=kept).values_list("pk", flat=True)[:BATCH]):
        workers.step()
        try:
            delete(pks)
        except BAD_VALUES:
            for pk in pks:
                with set_aside(
                    f"deleting {rows.model._meta.verbose_name} {pk}", partial(kept.add, pk)
                ):
                    delete([pk])
    return total
