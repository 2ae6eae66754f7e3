"""Predictions in the admin: to look at, not to change."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from realtime.models import PredictionScore, StoredPrediction
from tests import personas

pytestmark = pytest.mark.django_db
AT = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.fixture
def olga(client: Client) -> Client:
    client.force_login(personas.olga())
    for symbol, within in (("AAPL", True), ("FB", False)):
        PredictionScore.objects.create(symbol=symbol, model="m")
        StoredPrediction.objects.create(
            symbol=symbol, model="m", predicted_price=150, as_of=AT, valid_until=AT,
            within_bounds=within, resolved_at=AT,
        )  # fmt: skip
    return client


def listed(client: Client, **query: str) -> str:
    return client.get(reverse("admin:realtime_storedprediction_changelist"), query).text


@pytest.mark.parametrize(
    "query", [{"symbol": "AAPL"}, {"outcome": "inside"}, {"q": "AAPL"}], ids=str
)
def test_the_list_is_filtered(olga: Client, query: dict[str, str]) -> None:
    rows = listed(olga, **query).partition("<tbody>")[2].partition("</tbody>")[0]
    assert "AAPL" in rows
    assert "FB" not in rows


def test_scores_are_listed(olga: Client) -> None:
    assert "AAPL" in olga.get(reverse("admin:realtime_predictionscore_changelist")).text


def test_a_row_can_be_looked_at_and_not_changed_added_or_deleted(olga: Client) -> None:
    row = StoredPrediction.objects.get(symbol="AAPL")
    change = reverse("admin:realtime_storedprediction_change", args=[row.pk])
    page = olga.get(change).text
    assert "AAPL" in page
    assert 'name="_save"' not in page
    assert olga.post(change, {"symbol": "FB"}).status_code == 403
    assert olga.get(reverse("admin:realtime_storedprediction_add")).status_code == 403
    delete = reverse("admin:realtime_storedprediction_delete", args=[row.pk])
    assert olga.post(delete, {"post": "yes"}).status_code == 403
