"""Resolves predictions: stores outcomes, updates scores, and notifies sockets.

Any number of resolvers may run. A prediction is resolved by one conditional UPDATE, in the
transaction that moves the score and writes the webhook deliveries; if that finds it resolved,
another resolver was faster. Sockets are notified after the commit, and then the row is marked as
announced: if a resolver is killed in between, or cannot reach Redis, the next pass announces the
row. An outcome therefore counts once; it is announced once, or possibly twice after such a failure.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from realtime import workers
from realtime.aside import is_outage, readable, set_aside
from realtime.broadcast import PublishFailed, broadcast_prediction_outcomes
from realtime.conf import conf
from realtime.db import in_database
from realtime.models import Bar, PredictionScore, StoredPrediction
from realtime.predictions.outcomes import BEYOND, Close, Wait
from realtime.predictions.scores import Outcome, score_of
from realtime.protocol import JsonObject, PredictionOutcome
from realtime.retry import Retry, Stopped, set_within
from realtime.webhooks.events import emit

# Predictions that one pass looks at.
BATCH: Final = 200
# Seconds between two passes that find nothing to do.
EVERY: Final = 1.0
# Age after which a resolved but unannounced outcome counts as left behind by its resolver.
FORGOTTEN: Final = timedelta(seconds=30)


async def run_outcomes(stop: asyncio.Event, *, every: float = EVERY) -> None:
    """Resolve predictions as their outcomes come, until `stop` is set.

    Retries while the database or Redis is away; nothing is lost meanwhile.
    """
    retry = Retry(stop, outages=(DatabaseError, PublishFailed))
    # Not in the shared thread: a pass may take a while.
    one_pass = in_database(resolve_due, thread_sensitive=False)
    with contextlib.suppress(Stopped):
        while not stop.is_set():
            done = await retry.until_done(one_pass)
            workers.step(lag=done.lag)
            workers.did(done.looked_at)
            if done.looked_at < BATCH:
                await set_within(stop, every)


@dataclass(frozen=True, slots=True)
class Pass:
    """How many predictions were looked at, and how many of them were resolved.

    `lag`: by how many seconds the first of them was looked at too late.
    """

    looked_at: int
    resolved: int
    lag: float = field(default=0.0, compare=False)


def resolve_all() -> int:
    """Resolve everything that is due; returns the number of outcomes. Raises like `resolve_due`."""
    count = 0
    while True:
        done = resolve_due()
        count += done.resolved
        if done.looked_at < BATCH:
            return count


def resolve_due(now: datetime | None = None) -> Pass:
    """One pass over what is due, BATCH predictions at most.

    Raises DatabaseError, and PublishFailed when outcomes are stored and not announced.
    """
    now = now or timezone.now()
    due = readable(StoredPrediction.objects.due(now), BATCH, _give_up)
    known: dict[tuple[str, str], list[tuple[StoredPrediction, float]]] = defaultdict(list)
    unknown = []
    for row in due:
        with _alone(row):
            price = _wait(row).price(_bars(row), now)
            if price is None:
                row.check_at = _wait(row).next_look(now)
                unknown.append(row)
            else:
                known[row.symbol, row.model].append((row, price))
    StoredPrediction.objects.bulk_update(unknown, ["check_at"])
    resolved = [row for key, found in known.items() for row in _store_each(*key, found, now)]
    forgotten = StoredPrediction.objects.filter(announced_at=None, resolved_at__lt=now - FORGOTTEN)
    _announce([*resolved, *readable(forgotten.order_by("resolved_at"), BATCH, _be_silent)])
    lag = max((_seconds_late(row, now) for row in due), default=0.0)
    return Pass(len(due), len(resolved), lag)


def _seconds_late(row: StoredPrediction, now: datetime) -> float:
    return 0.0 if row.check_at is None else max(0.0, (now - row.check_at).total_seconds())


def _alone(row: StoredPrediction) -> AbstractContextManager[None]:
    return set_aside(f"prediction {row.pk} of {row.symbol}", partial(_give_up, row.pk))


def _give_up(pk: int) -> None:
    StoredPrediction.objects.filter(pk=pk).update(check_at=None)


def _be_silent(pk: int) -> None:
    StoredPrediction.objects.filter(pk=pk).update(announced_at=timezone.now())


def _wait(row: StoredPrediction) -> Wait:
    return Wait(row.as_of, row.created_at, row.horizon, row.step)


def _bars(row: StoredPrediction) -> list[Close]:
    """The bars after the prediction, from its own source.

    A prediction without a source is compared with bars without a source or, if there are none, with
    bars of the source that was written last.
    """
    bars = Bar.objects.filter(symbol=row.symbol, interval=row.step)
    source = row.source
    if not source and not bars.filter(source="").exists():
        newest = bars.order_by("-updated_at").values_list("source", flat=True).first()
        source = newest or ""
    after = bars.filter(source=source, start__gt=row.as_of).order_by("start")
    values = after.values_list("start", "close", "updated_at")[: row.horizon + BEYOND]
    return [Close(*value) for value in values]


def _store_each(
    symbol: str, model: str, found: Sequence[tuple[StoredPrediction, float]], now: datetime
) -> list[StoredPrediction]:
    """Store all together, or one by one if one of them cannot be stored."""
    try:
        return _store(symbol, model, found, now)
    except Exception as exc:
        if is_outage(exc):
            raise
    resolved: list[StoredPrediction] = []
    for row, price in found:
        with _alone(row):
            resolved += _store(symbol, model, [(row, price)], now)
    return resolved


def _store(
    symbol: str, model: str, found: Sequence[tuple[StoredPrediction, float]], now: datetime
) -> list[StoredPrediction]:
    """Write outcomes and the score; returns those that no other resolver has written before."""
    with transaction.atomic():
        # Locked first: the second resolver then includes the outcomes of the first in its score.
        PredictionScore.objects.get_or_create(symbol=symbol, model=model)
        score = PredictionScore.objects.select_for_update().get(symbol=symbol, model=model)
        resolved = [row for row, price in found if _resolve(row, price, now)]
        if resolved:
            _update_score(score)
            for row in resolved:
                if not row.requested:
                    emit("prediction_outcome", _event(row), symbol=symbol)
    return resolved


def _resolve(row: StoredPrediction, price: float, now: datetime) -> bool:
    """False when another resolver was faster."""
    row.actual_price, row.resolved_at = price, now
    # Eight significant digits, without the rounding noise of a subtraction.
    row.error = float(f"{price - row.predicted_price:.8g}")
    if row.lower_bound is not None and row.upper_bound is not None:
        row.within_bounds = row.lower_bound <= price <= row.upper_bound
    changed = StoredPrediction.objects.filter(pk=row.pk, resolved_at__isnull=True).update(
        actual_price=row.actual_price,
        error=row.error,
        within_bounds=row.within_bounds,
        resolved_at=now,
    )
    return bool(changed)


def _update_score(score: PredictionScore) -> None:
    """Recomputed from the last outcomes each time, since a running sum could drift."""
    rows = StoredPrediction.objects.scored(score.symbol, score.model)
    for name, value in asdict(score_of(outcomes(rows[: conf.REALTIME_SCORE_WINDOW]))).items():
        setattr(score, name, value)
    score.save()


def outcomes(rows: Iterable[StoredPrediction]) -> list[Outcome]:
    """The outcomes of resolved rows."""
    return [
        Outcome(
            predicted_price=row.predicted_price,
            actual_price=row.actual_price,
            last_price=row.last_price,
            within_bounds=row.within_bounds,
            confidence=row.confidence,
        )
        for row in rows
        if row.actual_price is not None
    ]


def _announce(rows: Sequence[StoredPrediction]) -> None:
    """Notify the sockets, then mark the rows as announced; raises PublishFailed."""
    for row in rows:
        with set_aside(f"the outcome of prediction {row.pk} of {row.symbol}"):
            broadcast_prediction_outcomes([PredictionOutcome(**_message(row))])
    if rows:
        unnoted = StoredPrediction.objects.filter(
            pk__in=[row.pk for row in rows], announced_at__isnull=True
        )
        unnoted.update(announced_at=timezone.now())


def _message(row: StoredPrediction) -> JsonObject:
    if row.actual_price is None or row.error is None:
        raise ValueError("it is resolved, and has no actual price or no error")
    return {
        "symbol": row.symbol,
        "prediction_id": row.prediction_id,
        "predicted_price": row.predicted_price,
        "actual_price": row.actual_price,
        "error": row.error,
        "within_bounds": bool(row.within_bounds),
    }


def _event(row: StoredPrediction) -> JsonObject:
    return {**_message(row), "model": row.model, "horizon": row.horizon}
