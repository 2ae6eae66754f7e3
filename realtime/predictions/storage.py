"""Predictions as rows of the database: checked one by one, stored all at once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from realtime import broadcast, protocol
from realtime.broadcast import Broadcast
from realtime.conf import conf
from realtime.delivery.history_scripts import ONCE_SECONDS
from realtime.models import PredictionScore, StoredPrediction
from realtime.predictions.fields import prediction_fields
from realtime.predictions.outcomes import Wait
from realtime.predictions.scores import Score
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.values import batches
from realtime.webhooks.events import emit_all

# Rows that one statement reads or writes.
_BATCH: Final = 300
_REPEATABLE: Final = timedelta(seconds=ONCE_SECONDS)
# What storing adds to the data at most: numbers of 20 characters.
_ROOM: Final = "x" * 20


@dataclass(frozen=True, slots=True)
class Checked:
    """A prediction that can be stored and published, and its row, which is not saved yet."""

    row: StoredPrediction
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Record:
    """A stored prediction, and its data as subscribers receive it."""

    row: StoredPrediction
    data: Mapping[str, object]

    @property
    def update(self) -> Broadcast:
        id = self.row.request_id
        return broadcast.prediction_update(self.row.symbol, self.data, id=id)

    @property
    def outdated(self) -> bool:
        """Is it a repetition that comes so late that its update would pass for a new one?"""
        return timezone.now() - self.row.created_at > _REPEATABLE


def check_prediction(
    symbol: object,
    prediction_data: object,
    id: str | None = None,
    *,
    now: datetime | None = None,
    requested: bool = False,
) -> Checked:
    """Raises InvalidUpdate for what cannot be stored, or not be published once it is stored.

    Of two predictions of a symbol with the same `id`, only the first one is stored.
    """
    try:
        name = parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise broadcast.InvalidUpdate("symbol", exc.reason) from None
    data = broadcast.check_data(prediction_data, "prediction_data")
    now = now or timezone.now()
    row = StoredPrediction(
        symbol=name,
        created_at=now,
        requested=requested,
        request_id=None if id is None else _request_id(name, broadcast.check_id(id)),
        **prediction_fields(data, now),
    )
    row.check_at = Wait(row.as_of, now, row.horizon, row.step).first_look()
    broadcast.prediction_update(name, {**data, **_LARGEST})
    return Checked(row, data)


def store_checked(checked: Sequence[Checked]) -> list[Record]:
    """Save predictions without publishing them, all or none; raises DatabaseError.

    A prediction that a client has requested is not sent to webhooks. One whose id is stored already
    is not stored again: its record has the first row.
    """
    try:
        return _store(checked)
    except IntegrityError:
        if not any(each.row.request_id for each in checked):
            raise
        return _store(checked)  # another process has just stored one of them


def _store(checked: Sequence[Checked]) -> list[Record]:
    with transaction.atomic():
        new = _new_rows(checked)
        _insert([row for row in new if row is not None])
        scores = _scores({(each.row.symbol, each.row.model) for each in checked})
        stored = _stored({each.row.request_id for each in checked if each.row.request_id})
        records = []
        for each, row in zip(checked, new, strict=True):
            score = scores[each.row.symbol, each.row.model]
            records.append(_record(row or stored[each.row.request_id], each.data, score))
        emit_all("prediction_complete", _events(records, new))
    return records


def _new_rows(checked: Sequence[Checked]) -> list[StoredPrediction | None]:
    """The rows to insert; None in the place of each repetition."""
    known = _stored({each.row.request_id for each in checked if each.row.request_id}).keys()
    seen: set[str | None] = set(known)
    new: list[StoredPrediction | None] = []
    for row in (each.row for each in checked):
        row.pk = None  # of an attempt that was rolled back
        new.append(None if row.request_id in seen else row)
        seen |= {row.request_id} - {None}
    return new


def _events(
    records: Sequence[Record], new: Sequence[StoredPrediction | None]
) -> list[tuple[str, dict[str, object]]]:
    return [
        (record.row.symbol, {"symbol": record.row.symbol, **record.data})
        for record, row in zip(records, new, strict=True)
        if row is not None and not row.requested
    ]


def store_prediction(
    symbol: str, prediction_data: Mapping[str, object], *, requested: bool = False
) -> Record:
    """Save one prediction without publishing it; raises InvalidUpdate and DatabaseError."""
    return store_checked([check_prediction(symbol, prediction_data, requested=requested)])[0]


def _stored(ids: set[str]) -> dict[str | None, StoredPrediction]:
    found: dict[str | None, StoredPrediction] = {}
    for part in batches(sorted(ids), _BATCH):
        rows = StoredPrediction.objects.filter(request_id__in=part)
        found |= {row.request_id: row for row in rows}
    return found


def _request_id(symbol: str, id: str) -> str:
    return hashlib.blake2b(f"{symbol} {id}".encode(), digest_size=16).hexdigest()


def _insert(rows: Sequence[StoredPrediction]) -> None:
    if connection.features.can_return_rows_from_bulk_insert:
        StoredPrediction.objects.bulk_create(rows, _BATCH)
        return
    for row in rows:  # MySQL would not say which keys they got
        row.save(force_insert=True)


def _scores(wanted: set[tuple[str, str]]) -> dict[tuple[str, str], PredictionScore]:
    """The scores of these symbols and models; those that are missing are created."""
    found = _found(wanted)
    missing = [
        PredictionScore(symbol=symbol, model=model) for symbol, model in wanted - found.keys()
    ]
    if not missing:
        return found
    # Another process may create the same ones now.
    PredictionScore.objects.bulk_create(missing, _BATCH, ignore_conflicts=True)
    return _found(wanted)


def _found(wanted: set[tuple[str, str]]) -> dict[tuple[str, str], PredictionScore]:
    models = {model for _, model in wanted}
    found: dict[tuple[str, str], PredictionScore] = {}
    for symbols in batches(sorted({symbol for symbol, _ in wanted}), _BATCH):
        for names in batches(sorted(models), _BATCH):
            scores = PredictionScore.objects.filter(symbol__in=symbols, model__in=names)
            found |= {(score.symbol, score.model): score for score in scores}
    return found


def _record(row: StoredPrediction, given: Mapping[str, object], score: PredictionScore) -> Record:
    data = {
        **given,
        "prediction_id": row.prediction_id,
        "valid_until": protocol.timestamp(row.valid_until),
    }
    return Record(row, {**data, "score": score_data(score)} if score.outcomes else data)


def score_data(score: PredictionScore) -> dict[str, object]:
    """A score as JSON, with the number of outcomes that it covers."""
    fields = {name: getattr(score, name) for name in Score.__dataclass_fields__}
    return {**Score(**fields).as_data(), "window": conf.REALTIME_SCORE_WINDOW}


_LARGEST: Final = {
    "prediction_id": _ROOM,
    "valid_until": protocol.timestamp(),
    "score": dict.fromkeys([*Score.__dataclass_fields__, "window"], _ROOM),
}
