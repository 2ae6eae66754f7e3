from datetime import UTC, datetime

import pytest
from django.test import Client

from realtime.models import Bar
from tests import personas

pytestmark = pytest.mark.django_db
URL = "/admin/realtime/bar/"


@pytest.fixture
def olga(client: Client) -> Client:
    """A browser in which Olga is logged in."""
    client.force_login(personas.olga())
    for symbol in ("AAPL", "MSFT"):
        start = datetime(2024, 1, 2, tzinfo=UTC)
        Bar.objects.create(
            symbol=symbol, interval="1d", start=start, open=1, high=2, low=1, close=2
        )
    return client


def test_bars_are_listed_and_found_by_symbol(olga: Client) -> None:
    assert b"2 bars" in olga.get(URL).content
    answer = olga.get(URL, {"q": "aap"}).content
    assert b"1 result" in answer


def test_bars_cannot_be_changed_by_hand(olga: Client) -> None:
    assert olga.get(f"{URL}add/").status_code == 403
    page = olga.get(f"{URL}{Bar.objects.first().pk}/change/")  # type: ignore[union-attr]
    assert page.status_code == 200
    assert b'name="_save"' not in page.content
