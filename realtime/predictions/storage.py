"""Predictions as rows of the database: checked one by one, stored all at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from realtime import broadcast, protocol
from realtime.conf import conf
from realtime.models import PredictionScore, StoredPrediction
from realtime.predictions.fields import prediction_fields
from realtime.predictions.outcomes import Wait
from realtime.predictions.scores import Score
from realtime.streams import InvalidSymbol, parse_symbol
from realtime.values import batches
from realtime.webhooks.events import emit_all

# Rows that one statement reads or writes.
_BATCH: Final = 300
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


def check_prediction(
    symbol: object,
    prediction_data: object,
    now: datetime | None = None,
    *,
    requested: bool = False,
) -> Checked:
    """Raises InvalidUpdate for what cannot be stored, or not be published once it is stored."""
    try:
        name = parse_symbol(symbol)
    except InvalidSymbol as exc:
        raise broadcast.InvalidUpdate("symbol", exc.reason) from None
    data = broadcast.check_data(prediction_data, "prediction_data")
    now = now or timezone.now()
    row = StoredPrediction(
        symbol=name, created_at=now, requested=requested, **prediction_fields(data, now)
    )
    row.check_at = Wait(row.as_of, now, row.horizon, row.step).first_look()
    broadcast.prediction_update(name, {**data, **_LARGEST})
    return Checked(row, data)


def store_checked(checked: Sequence[Checked]) -> list[Record]:
    """Save predictions without publishing them, all or none; raises DatabaseError.

    A prediction that a client has requested is not sent to webhooks.
    """
    with transaction.atomic():
        _insert([each.row for each in checked])
        scores = _scores({(each.row.symbol, each.row.model) for each in checked})
        records = [
            Record(each.row, _published(each, scores[each.row.symbol, each.row.model]))
            for each in checked
        ]
        wanted = [each for each in records if not each.row.requested]
        events = [(each.row.symbol, {"symbol": each.row.symbol, **each.data}) for each in wanted]
        emit_all("prediction_complete", events)
    return records


def store_prediction(
    symbol: str, prediction_data: Mapping[str, object], *, requested: bool = False
) -> Record:
    """Save one prediction without publishing it; raises InvalidUpdate and DatabaseError."""
    return store_checked([check_prediction(symbol, prediction_data, requested=requested)])[0]


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


def _published(checked: Checked, score: PredictionScore) -> dict[str, object]:
    row = checked.row
    data = {
        **checked.data,
        "prediction_id": row.prediction_id,
        "valid_until": protocol.timestamp(row.valid_until),
    }
    return {**data, "score": score_data(score)} if score.outcomes else data


def score_data(score: PredictionScore) -> dict[str, object]:
    """A score as JSON, with the number of outcomes that it covers."""
    fields = {name: getattr(score, name) for name in Score.__dataclass_fields__}
    return {**Score(**fields).as_data(), "window": conf.REALTIME_SCORE_WINDOW}


_LARGEST: Final = {
    "prediction_id": _ROOM,
    "valid_until": protocol.timestamp(),
    "score": dict.fromkeys([*Score.__dataclass_fields__, "window"], _ROOM),
}
