"""Stored predictions and scores over REST."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from realtime.models import PredictionScore, StoredPrediction
from tests import personas

pytestmark = pytest.mark.django_db
START = datetime(2024, 1, 2, tzinfo=UTC)


def store(symbol: str = "AAPL", price: float = 150.0, **fields: Any) -> StoredPrediction:
    at = fields.pop("created_at", START)
    PredictionScore.objects.get_or_create(symbol=symbol, model=fields.get("model", ""))
    return StoredPrediction.objects.create(
        symbol=symbol, predicted_price=price, as_of=at, valid_until=at, created_at=at, **fields
    )


def get(path: str = "", *, key: dict[str, Any] | None = None, **query: Any) -> Any:
    client = APIClient()
    if key is not None:
        client.credentials(HTTP_X_API_KEY=personas.bob_key(**key)[1])
    return client.get(f"/api/v1/predictions{path}", query)


def symbols(answer: Any) -> list[str]:
    body = answer.json()
    rows = body.get("results", body.get("predictions", body.get("scores")))
    return [row["symbol"] for row in rows]


def test_one_prediction_has_its_outcome_with_it() -> None:
    row = store(actual_price=151.0, error=1.0, within_bounds=True, resolved_at=START)
    body = get(f"/{row.pk}").json()
    assert (body["prediction_id"], body["symbol"]) == (str(row.pk), "AAPL")
    assert (body["predicted_price"], body["actual_price"], body["error"]) == (150.0, 151.0, 1.0)
    assert datetime.fromisoformat(body["timestamp"]) == START


@pytest.mark.parametrize("number", [999, 2**70])
def test_a_prediction_that_is_not_there_is_told(number: int) -> None:
    assert get(f"/{number}").status_code == 404


def test_the_history_comes_in_pages_the_newest_first() -> None:
    rows = [store(created_at=START + timedelta(seconds=n)) for n in range(5)]
    first = get(limit=3).json()
    assert [row["prediction_id"] for row in first["results"]] == [
        row.prediction_id for row in rows[:1:-1]
    ]
    second = APIClient().get(first["next"]).json()
    assert [row["prediction_id"] for row in second["results"]] == [
        row.prediction_id for row in rows[1::-1]
    ]
    assert second["next"] is None


def test_the_history_is_filtered() -> None:
    store("AAPL", model="m", created_at=START)
    store("FB", model="n", created_at=START + timedelta(hours=1), resolved_at=START)
    assert symbols(get(symbol="aapl")) == ["AAPL"]
    assert symbols(get(symbol="AAPL,FB")) == ["FB", "AAPL"]
    assert symbols(get(model="n")) == ["FB"]
    assert symbols(get(resolved="true")) == ["FB"]
    assert symbols(get(resolved="false")) == ["AAPL"]
    assert symbols(get(since="2024-01-02T00:30:00Z")) == ["FB"]
    assert symbols(get(until="2024-01-02T00:30:00Z")) == ["AAPL"]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("", {"symbols": "AAPL"}, "symbols"),
        ("", {"symbol": "A B"}, "symbol"),
        ("", {"resolved": "perhaps"}, "resolved"),
        ("", {"since": "yesterday"}, "since"),
        ("/latest", {"model": "m"}, "model"),
        ("/scores", {"resolved": "true"}, "resolved"),
        ("/latest", {"symbol": ",".join(["A"] * 201)}, "symbol"),
    ],
)
def test_a_parameter_that_is_wrong_is_named(path: str, query: dict[str, str], field: str) -> None:
    answer = get(path, **query)
    assert answer.status_code == 400
    assert field in answer.json()


def test_the_latest_prediction_of_each_symbol(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for symbol in ("AAPL", "FB"):
        for n in range(3):
            store(symbol, 100.0 + n, created_at=START + timedelta(seconds=n), model=f"m{n}")
    with django_assert_num_queries(2):
        body = get("/latest").json()
    prices = [(row["symbol"], row["predicted_price"]) for row in body["predictions"]]
    assert prices == [("AAPL", 102.0), ("FB", 102.0)]
    assert symbols(get("/latest", symbol="fb,IBM")) == ["FB"]


def test_scores_are_shown_once_there_is_an_outcome() -> None:
    store()
    score = {"mean_absolute_error": 1.5, "within_bounds": 0.75, "nominal": 0.9, "skill": -0.1}
    PredictionScore.objects.create(symbol="FB", model="m", outcomes=4, **score)
    (shown,) = get("/scores").json()["scores"]
    assert (shown["symbol"], shown["model"], shown["outcomes"]) == ("FB", "m", 4)
    assert shown.items() >= score.items()
    assert shown["directional_accuracy"] is None
    assert symbols(get("/scores", model="other")) == []


LIMITED = {"symbols": {"predictions": ["BTC*", "AAPL"]}}


@pytest.mark.parametrize("path", ["", "/latest", "/scores"])
def test_a_key_sees_the_symbols_that_it_may_read(path: str) -> None:
    for symbol in ("AAPL", "BTC-USD", "FB", "XBTC"):
        store(symbol)
    PredictionScore.objects.update(outcomes=1)
    answer = get(path, key=LIMITED)
    assert sorted(symbols(answer)) == ["AAPL", "BTC-USD"]
    assert get(path, key={**LIMITED, "name": "again"}, symbol="FB").status_code == 403


@pytest.mark.parametrize("pattern", ["*" * 31 + "0", "*A" * 15 + "0"])
def test_a_pattern_of_many_stars_is_answered_as_any_other(pattern: str) -> None:
    store("A" * 32)
    assert symbols(get(key={"symbols": {"predictions": [pattern]}})) == []


def test_a_key_does_not_learn_of_a_prediction_that_it_may_not_read() -> None:
    assert get(f"/{store('FB').pk}", key=LIMITED).status_code == 404


@pytest.mark.parametrize("path", ["", "/latest", "/scores", "/1"])
def test_a_key_without_the_scope_is_refused(path: str) -> None:
    assert get(path, key={"scopes": ["market-data"]}).status_code == 403


def test_anonymous_reads_where_sockets_may(settings: Settings) -> None:
    assert get("/latest").status_code == 200
    settings.REALTIME_ALLOW_ANONYMOUS = False
    assert get("/latest").status_code in (401, 403)
