"""`POST predictions`: from outside, stored, broadcast and scored."""

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from realtime.api.schema import rendered
from realtime.models import PredictionScore, StoredPrediction
from tests import personas
from tests.processes import free_port
from tests.test_commands import last

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_layer")]

DATA = {"predicted_price": 150.25, "confidence": 0.85, "model": "mine"}
ONE = {"symbol": "aapl", "data": DATA}
OTHER = {"symbol": "MSFT", "data": DATA}


def recorder(**arguments: Any) -> APIClient:
    _, raw = personas.bob_key(scopes=["publish"], **arguments)
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=raw)
    return client


def post(body: Any, client: APIClient | None = None) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    client = client or recorder()
    return client.post("/api/v1/predictions", text, content_type="application/json")


def test_a_prediction_is_stored_broadcast_and_known_to_the_scores() -> None:
    answer = post(ONE)
    row = StoredPrediction.objects.get()
    assert answer.status_code == 201
    assert answer.json() == {
        "prediction_id": row.prediction_id, "symbol": "AAPL",
        "valid_until": last("predictions", "AAPL")[0]["valid_until"],
        "epoch": answer.json()["epoch"], "offset": 1, "receivers": 0,
    }  # fmt: skip
    assert (row.symbol, row.predicted_price, row.model) == ("AAPL", 150.25, "mine")
    assert PredictionScore.objects.filter(symbol="AAPL", model="mine").exists()


@pytest.mark.parametrize("named", [False, True])
def test_a_list_is_recorded_in_order(named: bool) -> None:
    items = [ONE, OTHER, ONE]
    body = post({"predictions": items} if named else items).json()
    answers = body["predictions"] if named else body
    assert [(each["symbol"], each["offset"]) for each in answers] == [
        ("AAPL", 1), ("MSFT", 1), ("AAPL", 2)
    ]  # fmt: skip
    assert StoredPrediction.objects.count() == 3


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"data": DATA}, "symbol"),
        ({"symbol": "AAPL"}, "data"),
        ({**ONE, "symbol": "A B"}, "symbol"),
        ({**ONE, "symbol": None}, "symbol"),
        ({**ONE, "data": []}, "data"),
        ({**ONE, "data": {}}, "data.predicted_price"),
        ({**ONE, "data": {**DATA, "horizon": 0}}, "data.horizon"),
        ({**ONE, "data": {**DATA, "note": "\ud800"}}, "data.note"),
        ({**ONE, "data": {**DATA, "note": "x" * 70_000}}, "data"),
        ({**ONE, "dta": 1}, "dta"),
        ('"AAPL"', "non_field_errors"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_what_is_wrong_is_named(item: Any, field: str) -> None:
    answer = post(item)
    assert answer.status_code == 400
    assert list(answer.json()) == [field]


def test_each_wrong_item_of_a_list_is_named_and_none_is_stored() -> None:
    wrong = {"symbol": "AAPL", "data": {"predicted_price": "high"}}
    answer = post([ONE, wrong, {"symbol": "A B", "data": DATA}])
    assert answer.json() == {
        "1.data.predicted_price": ["'high' is not a number"],
        "2.symbol": answer.json()["2.symbol"],
    }
    assert not StoredPrediction.objects.exists()
    assert last("predictions", "AAPL") == []


@pytest.mark.parametrize("body", [[], [ONE] * 1001, {"predictions": []}, {"predictions": 1}])
def test_a_list_has_a_thousand_predictions_at_most(body: Any) -> None:
    assert list(post(body).json()) == ["predictions"]


def test_a_key_for_some_symbols_records_those_only() -> None:
    client = recorder(symbols={"publish": ["AAPL"]})
    assert post(ONE, client).status_code == 201
    assert post([ONE, OTHER], client).json() == {
        "detail": "This credential may not publish updates for MSFT."
    }
    assert StoredPrediction.objects.count() == 1


def test_a_key_that_only_reads_records_nothing() -> None:
    client = APIClient()
    client.credentials(HTTP_X_API_KEY=personas.bob_key(scopes=["predictions"])[1])
    assert post(ONE, client).json() == {"detail": "This credential lacks the scope publish."}


def test_a_key_that_only_publishes_reads_nothing() -> None:
    assert recorder().get("/api/v1/predictions").status_code == 403


def test_predictions_count_towards_the_publish_limit() -> None:
    client = recorder(publish_per_second=2)
    assert post([ONE, OTHER], client).status_code == 201
    answer = post(ONE, client)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) == 1
    assert StoredPrediction.objects.count() == 2


def test_without_redis_the_answer_is_503(settings: Any) -> None:
    hosts = {"hosts": [f"redis://127.0.0.1:{free_port()}"]}
    client = recorder()
    settings.CHANNEL_LAYERS["default"]["CONFIG"] = hosts
    answer = post(ONE, client)
    assert answer.status_code == 503
    detail = answer.json()["detail"]
    assert detail.startswith("The predictions are stored, but not published: ")
    assert detail.endswith("they would be stored twice.")


def test_the_examples_of_the_document_work() -> None:
    operation = json.loads(rendered("json", "/api/v1"))["paths"]["/api/v1/predictions"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"].values()
    assert len(examples) == 2
    client = recorder()
    for example in examples:
        assert post(example["value"], client).status_code == 201
