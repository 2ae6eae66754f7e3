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
from realtime.broadcast import InvalidUpdate, Publication
from realtime.db import DatabaseThread, reconnecting
from realtime.models import StoredPrediction
from realtime.predictions.storage import (
    Checked,
    Record,
    check_prediction,
    store_checked,
    store_prediction,
)

Given = tuple[str, Mapping[str, object]] | tuple[str, Mapping[str, object], str | None]

logger = logging.getLogger(__name__)

# Seconds that subscribers, and a client that requested a prediction, wait for the database.
STORE_SECONDS: Final = 2.0


@reconnecting
def record_prediction(
    symbol: str, prediction_data: Mapping[str, object], *, id: str | None = None
) -> StoredPrediction:
    """Save a prediction and, after commit, broadcast it as `prediction_update`.

    For synchronous code; inside `transaction.atomic()` it is part of that transaction. A prediction
    whose symbol and `id` are stored already is a repetition: the first row is returned.
    Raises InvalidUpdate (nothing saved), a DatabaseError (nothing published) and PublishFailed
    (saved, and perhaps not published; with an `id` the call can be repeated).
    """
    _require_no_loop("arecord_prediction")
    return record_checked([check_prediction(symbol, prediction_data, id)])[0][0].row


async def arecord_prediction(
    symbol: str, prediction_data: Mapping[str, object], *, id: str | None = None
) -> StoredPrediction:
    """`record_prediction` for asynchronous code. It waits for the database in a thread."""
    return (await _arecord([check_prediction(symbol, prediction_data, id)]))[0]


@reconnecting
def record_predictions(predictions: Iterable[Given]) -> list[StoredPrediction]:
    """`record_prediction` for many: each is a symbol, its data and perhaps an id; in order.

    All of them are saved, or none. Raises as `record_prediction` does; the field of InvalidUpdate
    begins with the index: `predictions[3].symbol`.
    """
    _require_no_loop("arecord_predictions")
    return [record.row for record, _ in record_checked(_check_all(predictions))]


async def arecord_predictions(predictions: Iterable[Given]) -> list[StoredPrediction]:
    """`record_predictions` for asynchronous code. It waits for the database in a thread."""
    return await _arecord(_check_all(predictions))


def _check_all(predictions: Iterable[Given]) -> list[Checked]:
    now = timezone.now()
    checked = []
    for index, given in enumerate(predictions):
        try:
            checked.append(check_prediction(*given, now=now))
        except InvalidUpdate as exc:
            raise InvalidUpdate(f"predictions[{index}].{exc.field}", exc.reason) from None
    return checked


async def _arecord(checked: Sequence[Checked]) -> list[StoredPrediction]:
    records = await _astore(checked)
    await broadcast.abroadcast_many([each.update for each in records if not each.outdated])
    return [each.row for each in records]


def record_checked(checked: Sequence[Checked]) -> list[tuple[Record, Publication | None]]:
    """Save and, after commit, broadcast what has been checked, for synchronous code.

    A repetition of what was published long ago has no Publication.
    """
    with transaction.atomic():
        records = store_checked(checked)
        sent = [None if each.outdated else each.update for each in records]
        publications = iter(broadcast.broadcast_many([each for each in sent if each is not None]))
    return [
        (each, None if update is None else next(publications))
        for each, update in zip(records, sent, strict=True)
    ]


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
