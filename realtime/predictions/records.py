"""Recording predictions: saved, reported to webhooks, and broadcast, in this order.

Row and webhook are one transaction; the sockets hear of it after its commit. What is published is
the data as it was given, with what the row adds: `prediction_id` (by which `prediction_outcome`
names it later), `valid_until`, and the `score` that the model has so far for the symbol. So a
client that connects has the score from the snapshot, and no socket costs a query.

A prediction that cannot be stored is an error for the caller of `record_prediction`: nothing is
published. Where predictions are made without anybody to hear that error (a feed, a request),
`stored_data` decides for the subscribers: they get the prediction, without `prediction_id`, and
the log says that no outcome will name it.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from realtime import broadcast, protocol
from realtime.db import DatabaseThread, reconnecting
from realtime.models import PredictionScore, StoredPrediction
from realtime.predictions.fields import prediction_fields
from realtime.predictions.outcomes import Wait
from realtime.predictions.scores import Score
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.webhooks.events import emit

logger = logging.getLogger(__name__)

# How long subscribers, and a client that asked for a prediction, wait for the database.
STORE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Record:
    """A stored prediction, and its data as subscribers get it."""

    row: StoredPrediction
    data: Mapping[str, Any]


@reconnecting
def record_prediction(symbol: str, prediction_data: Mapping[str, Any]) -> StoredPrediction:
    """Save a prediction and, after commit, broadcast it as `prediction_update`.

    For synchronous code; inside `transaction.atomic()` all of it happens with that, or not at all.
    Raises InvalidUpdate (nothing saved), a DatabaseError (nothing published) and PublishFailed
    (saved, and perhaps not published).
    """
    _require_no_loop()
    with transaction.atomic():
        record = store_prediction(symbol, prediction_data)
        broadcast.broadcast_prediction_update(record.row.symbol, record.data)
    return record.row


async def arecord_prediction(symbol: str, prediction_data: Mapping[str, Any]) -> StoredPrediction:
    """`record_prediction` for asynchronous code. It waits for the database in a thread."""
    record = await astore_prediction(symbol, prediction_data)
    await broadcast.abroadcast_prediction_update(record.row.symbol, record.data)
    return record.row


def store_prediction(
    symbol: str, prediction_data: Mapping[str, Any], *, requested: bool = False
) -> Record:
    """Save a prediction without publishing it; raises InvalidUpdate and DatabaseError.

    One that a client has `requested` is told to no webhook.
    """
    try:
        symbol = parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise broadcast.InvalidUpdate("symbol", exc.reason) from None
    broadcast.prediction_update(symbol, prediction_data)  # what cannot be published is not saved
    now = timezone.now()
    fields = prediction_fields(prediction_data, now)
    row = StoredPrediction(symbol=symbol, created_at=now, requested=requested, **fields)
    row.check_at = Wait(row.as_of, now, row.horizon, row.step).first_look()
    with transaction.atomic():
        row.save(force_insert=True)
        score, _ = PredictionScore.objects.get_or_create(symbol=symbol, model=row.model)
        data = {
            **prediction_data,
            "prediction_id": row.prediction_id,
            "valid_until": protocol.timestamp(row.valid_until),
        }
        if score.outcomes:
            data["score"] = score_data(score)
        broadcast.prediction_update(symbol, data)  # raises, and rolls back, if it is too large now
        if not requested:
            emit("prediction_complete", {"symbol": symbol, **data}, symbol=symbol)
    return Record(row, data)


thread: Final = DatabaseThread("store-prediction")
astore_prediction = thread.run(store_prediction)


async def stored_data(
    symbol: str, prediction_data: Mapping[str, Any], *, requested: bool = False
) -> Mapping[str, Any]:
    """Store a prediction; its data to publish. Where that fails, as it was, and a line in the log.

    Raises nothing, and takes STORE_SECONDS at most: a database that is away costs the outcome, not
    the prediction.
    """
    store = astore_prediction(symbol, prediction_data, requested=requested)
    storing = asyncio.ensure_future(store)
    try:
        # Shielded: a thread cannot be taken back. What it stores late has an outcome all the same.
        async with asyncio.timeout(STORE_SECONDS):
            return (await asyncio.shield(storing)).data
    except Exception as exc:
        # Whatever the driver raises, now or later; it is for our log.
        storing.add_done_callback(lambda late: late.cancelled() or late.exception())
        # asyncio's TimeoutError has no text.
        logger.warning(
            "a prediction for %s is published but not stored, so it will have no outcome: %s: %s",
            symbol, type(exc).__name__, str(exc) or "it took too long",
        )  # fmt: skip
        return prediction_data


def score_data(score: PredictionScore) -> dict[str, Any]:
    """A score as JSON has it, with the number of outcomes that it looks back on."""
    fields = {name: getattr(score, name) for name in Score.__dataclass_fields__}
    return {**Score(**fields).as_data(), "window": settings.REALTIME_SCORE_WINDOW}


def _require_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("in asynchronous code: await arecord_prediction(...)")
