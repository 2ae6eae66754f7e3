"""The core of `POST predictions`: external predictions are stored, then broadcast."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from django.utils import timezone

from realtime.access.identity import Identity
from realtime.api.answers import (
    Answer,
    Invalid,
    Refused,
    forbidden,
    read_batch,
    read_symbol,
    require_fields,
    require_values,
    required,
    take_allowance,
)
from realtime.api.idempotency import HEADER, REPLAYED, RequestOnce
from realtime.broadcast import InvalidUpdate, Publication, PublishFailed
from realtime.predictions.records import record_checked
from realtime.predictions.storage import Checked, Record, check_prediction
from realtime.protocol import timestamp
from realtime.streams import InvalidSymbol

_NAME: Final = "predictions"
_FIELDS: Final = ("symbol", "data", "id")
# The name of record_prediction's argument that is `data` in a request.
_ARGUMENT: Final = re.compile(r"^prediction_data\b")


def record(identity: Identity, body: object, key: str | None = None) -> Answer:
    """Record one prediction or many: all, or none. Raises Refused.

    `key` is the header Idempotency-Key.
    """
    once, now, items = RequestOnce(identity, key), timezone.now(), _listed(body)
    read = partial(_read, once, now)
    checked = [read(0, body)] if items is None else read_batch(items, _NAME, read)
    _authorise(identity, checked)
    try:
        with once.held(_NAME, body) as again:
            if not again:
                take_allowance(identity, len(checked))
            recorded = record_checked(checked)
    except PublishFailed as exc:
        raise _stored_only(exc, all(each.row.request_id for each in checked)) from exc
    shown = [_shown(*each) for each in recorded]
    replayed = all(sent is None or sent.repeated for _, sent in recorded)
    headers = {REPLAYED: "true"} if replayed else {}
    if items is None:
        return Answer(201, shown[0], headers)
    return Answer(201, shown if isinstance(body, list) else {_NAME: shown}, headers)


def _stored_only(exc: PublishFailed, repeatable: bool) -> Refused:
    """The answer when Redis did not confirm after the commit."""
    way_out = (
        "Send the same request again to publish them."
        if repeatable
        else f"Sent again without an id or {HEADER}, they would be stored twice."
    )
    return Refused(503, {"detail": f"The predictions are stored, but {exc} {way_out}"})


def _listed(body: object) -> Sequence[object] | None:
    """The items of a list, or of `{"predictions": [...]}`; None for a single prediction."""
    if isinstance(body, Mapping) and _NAME in body:
        body = require_fields(body, [_NAME])[_NAME]
        if not isinstance(body, list):
            raise Invalid.of(_NAME, "This must be a list of predictions.")
    return body if isinstance(body, list) else None


def _read(once: RequestOnce, now: datetime, index: int, item: object) -> Checked:
    """One prediction, checked; raises Invalid."""
    given = require_fields(item, _FIELDS)
    require_values(required(given, ("symbol", "data")))
    try:
        id = once.id(index, given.get("id"))
        return check_prediction(read_symbol(given["symbol"]), given["data"], id, now=now)
    except InvalidSymbol as exc:
        raise Invalid.of("symbol", str(exc)) from exc
    except InvalidUpdate as exc:
        raise Invalid.of(_ARGUMENT.sub("data", exc.field), exc.reason) from exc


def _authorise(identity: Identity, checked: Sequence[Checked]) -> None:
    for symbol in {each.row.symbol: None for each in checked}:
        if not identity.allows("publish", symbol):
            raise forbidden(f"This credential may not publish updates for {symbol}.")


def _shown(record: Record, sent: Publication | None) -> dict[str, object]:
    return {
        "prediction_id": record.row.prediction_id,
        "symbol": record.row.symbol,
        "valid_until": timestamp(record.row.valid_until),
        "epoch": None if sent is None else sent.epoch,
        "offset": None if sent is None else sent.offset,
        "receivers": None if sent is None else sent.receivers,
    }
