"""Stored bars over REST."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from realtime.models import Bar
from tests import personas

pytestmark = pytest.mark.django_db
START = datetime(2024, 1, 2, tzinfo=UTC)


def store(count: int, symbol: str = "AAPL", interval: str = "1m", source: str = "replay") -> None:
    step = timedelta(minutes=1) if interval == "1m" else timedelta(days=1)
    Bar.objects.bulk_create(
        Bar(
            symbol=symbol, interval=interval, source=source, start=START + n * step,
            open=100 + n, high=110 + n, low=90 + n, close=105 + n, volume=n,
        )
        for n in range(count)
    )  # fmt: skip


def get(symbol: str = "AAPL", *, key: dict[str, Any] | None = None, **query: Any) -> Any:
    client = APIClient()
    if key is not None:
        client.credentials(HTTP_X_API_KEY=personas.bob_key(**key)[1])
    return client.get(f"/api/v1/market-data/{symbol}/bars", query)


def closes(answer: Any) -> list[float]:
    return [bar["close"] for bar in answer.json()["bars"]]


def test_bars_come_oldest_first_with_everything_a_chart_needs() -> None:
    store(2)
    body = get().json()
    assert (body["symbol"], body["interval"], body["source"]) == ("AAPL", "1m", "replay")
    assert len(body["bars"]) == 2
    bar = body["bars"][0]
    assert datetime.fromisoformat(bar.pop("start")) == START
    assert bar.pop("updated_at")
    numbers = {"open": 100.0, "high": 110.0, "low": 90.0, "close": 105.0, "volume": 0.0}
    assert bar == {**numbers, "closed": True}


def test_the_newest_bars_are_given_and_before_pages_back() -> None:
    store(10)
    newest = get(limit=3)
    assert closes(newest) == [112, 113, 114]
    earlier = get(limit=3, before=newest.json()["bars"][0]["start"])
    assert closes(earlier) == [109, 110, 111]


def test_the_interval_is_chosen() -> None:
    store(2)
    store(3, interval="1d")
    assert len(closes(get(interval="1d"))) == 3


def test_without_a_source_the_one_that_was_written_last_is_shown() -> None:
    store(1, source="live")
    store(2, source="replay")
    assert get().json()["source"] == "replay"
    answer = get(source="live")
    assert (answer.json()["source"], len(closes(answer))) == ("live", 1)


def test_a_symbol_without_bars_has_an_empty_list() -> None:
    answer = get("TSLA")
    assert answer.status_code == 200
    assert answer.json() == {"symbol": "TSLA", "interval": "1m", "source": None, "bars": []}


@pytest.mark.parametrize("symbol", ["BTC/USD", "BTC%2FUSD", "btc/usd"])
def test_a_symbol_may_hold_a_slash(symbol: str) -> None:
    store(1, "BTC/USD")
    assert get(symbol).json()["symbol"] == "BTC/USD"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"interval": "7m"}, "interval"),
        ({"after": "noon"}, "after"),
        ({"after": "2024-01-02T00:00:00Z", "before": "2024-01-02T00:00:00Z"}, "after"),
        ({"limit": 0}, "limit"),
        ({"limit": 5001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"before": "noon"}, "before"),
        ({"source": "x" * 65}, "source"),
        ({"form": "csv"}, "form"),
    ],
)
def test_a_bad_parameter_is_named(query: dict[str, Any], field: str) -> None:
    answer = get(**query)
    assert answer.status_code == 400
    assert list(answer.json()) == [field]


def test_a_wrong_choice_is_told_the_choices() -> None:
    assert get(interval="7m").json() == {
        "interval": ["Must be one of 1m, 5m, 15m, 1h, 4h, 1d, 1w."]
    }


def test_a_symbol_that_is_none_is_named() -> None:
    answer = get("A APL")
    assert (answer.status_code, list(answer.json())) == (400, ["symbol"])


def test_a_key_reads_the_symbols_of_its_scope() -> None:
    store(1)
    key = {"scopes": ["market-data"], "symbols": {"market-data": ["AA*"]}}
    assert get(key=key).status_code == 200
    refused = get("MSFT", key={**key, "name": "another"})
    assert refused.status_code == 403
    assert refused.json() == {"detail": "This credential may not read market-data of MSFT."}


def test_a_key_without_the_scope_is_refused() -> None:
    assert get(key={"scopes": ["alerts"]}).status_code == 403


def test_who_may_not_receive_anonymously_may_not_ask_either(settings: Settings) -> None:
    assert get().status_code == 200
    settings.REALTIME_ALLOW_ANONYMOUS = False
    assert get().status_code == 401


def test_a_stored_number_that_is_none_is_null_beside_those_that_are() -> None:
    store(2)
    Bar.objects.filter(start=START).update(volume=float("inf"), high=float("-inf"))
    bars = get().json()["bars"]
    assert (bars[0]["volume"], bars[0]["high"], bars[0]["close"]) == (None, None, 105.0)
    assert bars[1]["volume"] == 1.0
