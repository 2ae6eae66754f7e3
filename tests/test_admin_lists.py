"""The lists of the admin: numbers, times, search and CSV."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import AsyncClient, Client
from django.urls import reverse

from realtime.admin import export
from realtime.admin.base import GuardedAdmin
from realtime.admin.columns import shown_number
from realtime.admin.export import cell
from realtime.models import Alert, ApiKey, Bar, LiveConnection, StoredPrediction
from tests import personas

pytestmark = pytest.mark.django_db
AT = datetime(2024, 1, 2, 12, 0, 5, tzinfo=UTC)


@pytest.fixture
def olga(client: Client) -> Client:
    client.force_login(personas.olga())
    return client


def predictions(*symbols: str, **fields: Any) -> None:
    StoredPrediction.objects.bulk_create(
        StoredPrediction(
            symbol=symbol, model="m", as_of=AT, valid_until=AT,
            **{"predicted_price": 150.251984223, **fields},
        )
        for symbol in symbols
    )  # fmt: skip


def url(model: str, page: str) -> str:
    return reverse(f"admin:realtime_{model}_{page}")


def exported(client: Client, model: str, **query: str) -> list[dict[str, str]]:
    answer = client.get(url(model, "export"), query)
    assert answer.status_code == 200
    return rows_of(b"".join(answer))


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


# What is shown ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (150.251984223, "150.25"), (64123.4567, "64,123.46"), (1.083456, "1.0835"),
        (0.0000123456789, "0.00001235"), (-0.5, "-0.5000"), (12.0, "12.00"), (0.0, "0"),
        (1_000_000.0, "1,000,000"), (1e300, "1e+300"), (1e-300, "1e-300"),
        (float("inf"), "inf"), (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_a_number_has_digits_that_a_person_reads(value: float, text: str) -> None:
    assert f">{text}<" in shown_number(value)


def test_lists_show_rounded_numbers_and_seconds(olga: Client) -> None:
    predictions("AAPL", lower_bound=148.123456, upper_bound=152.6543)
    page = olga.get(url("storedprediction", "changelist")).text
    assert "150.251984" not in page
    assert ">150.25<" in page
    assert "148.12</span> to" in page
    assert ">12:00:05<" in page


def test_a_column_that_is_shown_otherwise_still_sorts_and_links(olga: Client) -> None:
    predictions("MSFT", "AAPL")
    StoredPrediction.objects.filter(symbol="MSFT").update(predicted_price=1.0)
    page = olga.get(url("storedprediction", "changelist"), {"o": "1"}).text
    assert page.index(">MSFT<") < page.index(">150.25<")
    Alert.objects.create(uid="a", created_at=AT, data={"message": "Hello"})
    row = olga.get(url("alert", "changelist")).text.partition("<tbody>")[2]
    assert row.count('/change/">') == 2


def test_alerts_are_found_by_words_of_their_message(olga: Client) -> None:
    for text in ("Price exceeded $150", "Volume fell"):
        Alert.objects.create(uid=text[:5], data={"message": text})
    page = olga.get(url("alert", "changelist"), {"q": "EXCEEDED"}).text
    assert "Price exceeded" in page
    assert "Volume fell" not in page


# CSV ----------------------------------------------------------------------------------------------

OURS = [
    (model._meta.model_name, page)
    for model, page in admin.site._registry.items()
    # Live connections are in no table, and their list is not Django's.
    if isinstance(page, GuardedAdmin) and model is not LiveConnection
]


@pytest.mark.parametrize(("model", "page"), OURS, ids=str)
def test_every_list_has_a_csv_that_names_its_columns(
    olga: Client, model: str, page: GuardedAdmin[Any]
) -> None:
    assert f"{url(model, 'export')}?q=x" in olga.get(url(model, "changelist"), {"q": "x"}).text
    answer = olga.get(url(model, "export"))
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="{model}.csv"'
    assert b"".join(answer).decode().splitlines()[0] == ",".join(page.export_fields)


def test_no_secret_is_exported(olga: Client) -> None:
    key, raw = personas.bob_key()
    for _, page in OURS:
        assert not {"hashed_key", "sealed_secret", "previous_sealed_secret"} & {*page.export_fields}
    text = str(exported(olga, "apikey"))
    assert key.prefix in text
    stored = ApiKey.objects.values().get()
    secrets = [str(value) for name, value in stored.items() if "hash" in name or "digest" in name]
    assert [value for value in (raw, *secrets) if value and value in text] == []


def test_a_csv_has_all_pages_of_what_filters_and_search_leave(
    olga: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 7)
    predictions(*["AAPL"] * 120, "MSFT")
    assert len(exported(olga, "storedprediction")) == 121
    assert len(exported(olga, "storedprediction", q="AAPL", p="2")) == 120
    [row] = exported(olga, "storedprediction", q="MSFT", outcome="pending")
    assert (row["symbol"], row["predicted_price"]) == ("MSFT", "150.251984223")
    assert row["as_of"] == "2024-01-02T12:00:05Z"


def test_a_csv_keeps_the_order_of_the_list(olga: Client) -> None:
    predictions("B", "A", "C")
    assert [row["symbol"] for row in exported(olga, "storedprediction", o="0")] == ["A", "B", "C"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_text_that_a_spreadsheet_would_run_is_quoted(olga: Client, text: str) -> None:
    predictions("AAPL", source=text)
    [row] = exported(olga, "storedprediction")
    assert row["source"] == f"'{text}"


def test_a_number_below_zero_stays_a_number() -> None:
    assert (cell(-1.5), cell(-3), cell(None), cell(True)) == (-1.5, -3, None, True)
    assert cell(["=1"]) == '["=1"]'


@pytest.mark.parametrize(
    "query", [{"created_at__year": "0"}, {"no_such": "1"}, {"created_at__gte": "x"}], ids=str
)
def test_a_filter_that_cannot_be_is_a_bad_request(olga: Client, query: dict[str, str]) -> None:
    assert olga.get(url("storedprediction", "export"), query).status_code == 400


def test_only_who_may_look_at_a_list_exports_it(client: Client) -> None:
    user = personas.alice(is_staff=True)
    client.force_login(user)
    assert client.get(url("bar", "export")).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_bar"))
    assert client.get(url("bar", "export")).status_code == 200
    assert client.get(url("apikey", "export")).status_code == 403
    assert Client().get(url("bar", "export")).status_code == 302


@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_server_sends_a_csv_in_parts(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ROWS_AT_ONCE", 3)
    await async_client.aforce_login(await sync_to_async(personas.olga)())
    for number in range(8):
        await Bar.objects.acreate(
            symbol=f"S{number}", interval="1d", start=AT, open=1, high=1, low=1, close=1
        )
    answer = await async_client.get(url("bar", "export"))
    parts = [part async for part in cast(AsyncIterator[bytes], answer)]
    assert len(parts) > 2
    assert len(rows_of(b"".join(parts))) == 8
