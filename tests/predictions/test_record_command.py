"""`manage.py broadcast_prediction --record`."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from realtime.models import StoredPrediction
from tests.predictions.test_resolve import rename
from tests.test_commands import last

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_layer")]


def broadcast(*arguments: str) -> None:
    call_command("broadcast_prediction", "AAPL", *arguments)


def test_a_recorded_prediction_is_stored_and_published(capsys: Any) -> None:
    broadcast('{"predicted_price": 150.25}', "--record")
    row = StoredPrediction.objects.get()
    assert [data["prediction_id"] for data in last("predictions", "AAPL")] == [row.prediction_id]
    assert "predictions AAPL: offset 1" in capsys.readouterr().out


def test_without_the_option_nothing_is_stored() -> None:
    broadcast('{"note": "any shape"}')
    assert not StoredPrediction.objects.exists()


def test_what_cannot_be_stored_is_named_and_not_published() -> None:
    with pytest.raises(CommandError, match=r"data\.predicted_price: is missing"):
        broadcast('{"note": "no price"}', "--record")
    assert last("predictions", "AAPL") == []


def test_a_database_without_tables_is_told_in_words() -> None:
    rename("realtime_storedprediction", "hidden")
    try:
        with pytest.raises(CommandError, match="is it migrated"):
            broadcast('{"predicted_price": 150.25}', "--record")
    finally:
        rename("hidden", "realtime_storedprediction")
    assert last("predictions", "AAPL") == []
