"""Recording predictions: saved, reported to webhooks, and broadcast, in this order.

Row and webhook are written in one transaction, and sockets receive the prediction after its commit.
The published data is the given data plus the fields that the row adds: `prediction_id` (which
`prediction_outcome` refers to later), `valid_until`, and the current `score` of the model for the
symbol. A client that connects thus receives the score with the snapshot, without a query per
socket.

If a prediction cannot be stored, `record_prediction` raises and publishes nothing. Where no caller
can handle that error (a feed, a request), `stored_data` still delivers the prediction to
subscribers, without `prediction_id`, and logs that it will have no outcome.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.utils import timezone

from realtime import broadcast, protocol
from realtime.conf import conf
from realtime.db import DatabaseThread, reconnecting
from realtime.models import PredictionScore, StoredPrediction
from realtime.predictions.fields import prediction_fields
from realtime.predictions.outcomes import Wait
from realtime.predictions.scores import Score
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.webhooks.events import emit

logger = logging.getLogger(__name__)

# Seconds that subscribers, and a client that requested a prediction, wait for the database.
STORE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Record:
    """A stored prediction, and its data as subscribers receive it."""

    row: StoredPrediction
    data: Mapping[str, object]


@reconnecting
def record_prediction(symbol: str, prediction_data: Mapping[str, object]) -> StoredPrediction:
    """Save a prediction and, after commit, broadcast it as `prediction_update`.

    For synchronous code; inside `transaction.atomic()` it is part of that transaction.
    Raises InvalidUpdate (nothing saved), a DatabaseError (nothing published) and PublishFailed
    (saved, and perhaps not published).
    """
    _require_no_loop()
    with transaction.atomic():
        record = store_prediction(symbol, prediction_data)
        broadcast.broadcast_prediction_update(record.row.symbol, record.data)
    return record.row


async def arecord_prediction(
    symbol: str, prediction_data: Mapping[str, object]
) -> StoredPrediction:
    """`record_prediction` for asynchronous code. It waits for the database in a thread."""
    record = await astore_prediction(symbol, prediction_data)
    await broadcast.abroadcast_prediction_update(record.row.symbol, record.data)
    return record.row


def store_prediction(
    symbol: str, prediction_data: Mapping[str, object], *, requested: bool = False
) -> Record:
    """Save a prediction without publishing it; raises InvalidUpdate and DatabaseError.

    A prediction that a client has `requested` is not sent to webhooks.
    """
    try:
        symbol = parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise broadcast.InvalidUpdate("symbol", exc.reason) from None
    broadcast.prediction_update(symbol, prediction_data)  # raises for data that cannot be published
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
    symbol: str, prediction_data: Mapping[str, object], *, requested: bool = False
) -> Mapping[str, object]:
    """Store a prediction; returns the data to publish, unchanged if storing fails.

    Never raises, logs failures, and takes at most STORE_SECONDS: without the database the
    prediction has no outcome, but is still published.
    """
    store = astore_prediction(symbol, prediction_data, requested=requested)
    storing = asyncio.ensure_future(store)
    try:
        # Shielded: a thread cannot be cancelled. A prediction that it stores late still gets an
        # outcome.
        async with asyncio.timeout(STORE_SECONDS):
            return (await asyncio.shield(storing)).data
    except Exception as exc:
        # Any error of the driver, now or later; it goes to the log.
        storing.add_done_callback(lambda late: late.cancelled() or late.exception())
        # asyncio's TimeoutError has no text.
        logger.warning(
            "a prediction for %s is published but not stored, so it will have no outcome: %s: %s",
            symbol, type(exc).__name__, str(exc) or "it took too long",
        )  # fmt: skip
        return prediction_data


def score_data(score: PredictionScore) -> dict[str, object]:
    """A score as JSON, with the number of outcomes that it covers."""
    fields = {name: getattr(score, name) for name in Score.__dataclass_fields__}
    return {**Score(**fields).as_data(), "window": conf.REALTIME_SCORE_WINDOW}


def _require_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("in asynchronous code: await arecord_prediction(...)")
