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
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from django.db import transaction
from django.utils import timezone

from realtime import broadcast
from realtime.broadcast import Broadcast, InvalidUpdate, Publication
from realtime.db import DatabaseThread, reconnecting
from realtime.models import StoredPrediction
from realtime.predictions.storage import (
    Checked,
    Record,
    check_prediction,
    store_checked,
    store_prediction,
)

logger = logging.getLogger(__name__)

# Seconds that subscribers, and a client that requested a prediction, wait for the database.
STORE_SECONDS: Final = 2.0


@reconnecting
def record_prediction(symbol: str, prediction_data: Mapping[str, object]) -> StoredPrediction:
    """Save a prediction and, after commit, broadcast it as `prediction_update`.

    For synchronous code; inside `transaction.atomic()` it is part of that transaction.
    Raises InvalidUpdate (nothing saved), a DatabaseError (nothing published) and PublishFailed
    (saved, and perhaps not published).
    """
    _require_no_loop("arecord_prediction")
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


@reconnecting
def record_predictions(
    predictions: Iterable[tuple[str, Mapping[str, object]]],
) -> list[StoredPrediction]:
    """`record_prediction` for any number of predictions, each a symbol and its data; in order.

    All of them are saved, or none. Raises as `record_prediction` does; the field of InvalidUpdate
    begins with the index: `predictions[3].symbol`.
    """
    _require_no_loop("arecord_predictions")
    return [record.row for record, _ in record_checked(check_predictions(predictions))]


async def arecord_predictions(
    predictions: Iterable[tuple[str, Mapping[str, object]]],
) -> list[StoredPrediction]:
    """`record_predictions` for asynchronous code. It waits for the database in a thread."""
    records = await _astore(check_predictions(predictions))
    await broadcast.abroadcast_many(_updates(records))
    return [record.row for record in records]


def check_predictions(
    predictions: Iterable[tuple[str, Mapping[str, object]]],
) -> list[Checked]:
    """Raises InvalidUpdate for the first one that is wrong."""
    now = timezone.now()
    checked = []
    for index, (symbol, data) in enumerate(predictions):
        try:
            checked.append(check_prediction(symbol, data, now))
        except InvalidUpdate as exc:
            raise InvalidUpdate(f"predictions[{index}].{exc.field}", exc.reason) from None
    return checked


def record_checked(checked: Sequence[Checked]) -> list[tuple[Record, Publication]]:
    """Save and, after commit, broadcast what has been checked, for synchronous code."""
    with transaction.atomic():
        records = store_checked(checked)
        publications = broadcast.broadcast_many(_updates(records))
    return list(zip(records, publications, strict=True))


def _updates(records: Sequence[Record]) -> list[Broadcast]:
    return [broadcast.prediction_update(each.row.symbol, each.data) for each in records]


thread: Final = DatabaseThread("store-prediction")
astore_prediction = thread.run(store_prediction)
_astore = thread.run(store_checked)


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


def _require_no_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(f"in asynchronous code: await {name}(...)")
