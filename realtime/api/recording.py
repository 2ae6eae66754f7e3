"""The core of `POST predictions`: predictions from outside are stored, then broadcast."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from django.utils import timezone

from realtime.access.identity import Identity
from realtime.api.answers import (
    Answer,
    Invalid,
    forbidden,
    read_batch,
    require_fields,
    take_allowance,
)
from realtime.broadcast import InvalidUpdate, Publication
from realtime.predictions.records import record_checked
from realtime.predictions.storage import Checked, Record, check_prediction
from realtime.protocol import timestamp

_NAME: Final = "predictions"
_FIELDS: Final = ("symbol", "data")
# The name that record_prediction has for what is `data` in a request.
_ARGUMENT: Final = re.compile(r"^prediction_data\b")


def record(identity: Identity, body: object) -> Answer:
    """Record one prediction or many: all, or none. Raises Refused and PublishFailed."""
    now, items = timezone.now(), _listed(body)
    if items is None:
        checked = [_read(body, now)]
    else:
        checked = read_batch(items, _NAME, lambda item: _read(item, now))
    _authorise(identity, checked)
    take_allowance(identity, len(checked))
    shown = [_shown(*each) for each in record_checked(checked)]
    if items is None:
        return Answer(201, shown[0])
    return Answer(201, shown if isinstance(body, list) else {_NAME: shown})


def _listed(body: object) -> Sequence[object] | None:
    """The items of a list, or of `{"predictions": [...]}`; None for a single prediction."""
    if isinstance(body, Mapping) and _NAME in body:
        body = require_fields(body, [_NAME])[_NAME]
        if not isinstance(body, list):
            raise Invalid.of(_NAME, "This must be a list of predictions.")
    return body if isinstance(body, list) else None


def _read(item: object, now: datetime) -> Checked:
    """One prediction, checked; raises Invalid."""
    given = require_fields(item, _FIELDS)
    missing = [name for name in _FIELDS if name not in given]
    if missing:
        raise Invalid({name: ["This field is required."] for name in missing})
    try:
        return check_prediction(given["symbol"], given["data"], now)
    except InvalidUpdate as exc:
        raise Invalid.of(_ARGUMENT.sub("data", exc.field), exc.reason) from exc


def _authorise(identity: Identity, checked: Sequence[Checked]) -> None:
    for symbol in {each.row.symbol: None for each in checked}:
        if not identity.allows("publish", symbol):
            raise forbidden(f"This credential may not publish updates for {symbol}.")


def _shown(record: Record, publication: Publication) -> dict[str, object]:
    return {
        "prediction_id": record.row.prediction_id,
        "symbol": record.row.symbol,
        "valid_until": timestamp(record.row.valid_until),
        "epoch": publication.epoch,
        "offset": publication.offset,
        "receivers": publication.receivers,
    }
