"""The OpenAPI document: valid, complete, and its examples work as they stand."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from realtime.access.live_sockets import live_sockets
from realtime.alerts.rules import TYPES
from realtime.api import schema
from realtime.delivery.layers import required_layer
from realtime.models import AlertRule, ApiKey, WebhookEndpoint
from realtime.predictions.records import record_prediction
from realtime.webhooks.destinations import new_destination
from realtime.webhooks.events import send_test
from tests import personas
from tests.access.connections import ListedConnection
from tests.alerts.strategies import BY_TYPE

REST = "/api/v1/"


@cache
def document() -> dict[str, Any]:
    described: dict[str, Any] = json.loads(schema.rendered("json", "/api/v1"))
    return described


def requests() -> Iterator[Any]:
    """Every request that the document shows: its method, path, operation and body."""
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            examples = content.get("application/json", {}).get("examples", {"": {"value": None}})
            for name, example in examples.items():
                if path.startswith(REST):
                    label = f"{operation['operationId']}-{name}"
                    yield pytest.param(method, path, operation, example["value"], id=label)


def problems(instance: object, described: dict[str, Any]) -> list[str]:
    whole = {**described, "components": document()["components"]}
    return [error.message for error in OAS30Validator(whole).iter_errors(instance)]


def success(operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    status = min(operation["responses"])
    content = operation["responses"][status].get("content", {})
    return status, content.get("application/json", {}).get("schema", {})


@pytest.fixture
def values(transactional_db: None) -> dict[str, object]:
    """What the reader of the document has: rows, a login and a password."""
    olga = personas.olga()
    access, refresh = personas.login(olga)
    rule = AlertRule.objects.create(owner=olga, name="mine", definition=document_rule(), revision=1)
    key, _ = ApiKey.objects.create_key(olga, "mine")
    webhook, _ = WebhookEndpoint.objects.create_endpoint(olga, "https://example.com/hook")
    delivery = send_test(webhook)
    destination = new_destination(olga, "ntfys://ntfy.sh/a-topic")
    assert delivery is not None
    prediction = record_prediction("AAPL", {"predicted_price": 150.25})
    connection = ListedConnection(1)
    async_to_sync(add_connection)(connection)
    return {
        "id": rule.pk, "prefix": key.prefix, "webhook_id": webhook.pk, "delivery_id": delivery.pk,
        "destination_id": destination.pk,
        "prediction_id": prediction.prediction_id, "access": access,
        "connection_id": connection.connection_id, "user": "olga",
        "refresh": refresh, "token": access, "username": "olga", "password": personas.PASSWORD,
    }  # fmt: skip


async def add_connection(connection: Any) -> None:
    live_sockets(required_layer()).add(connection)


def document_rule() -> dict[str, Any]:
    example = document()["paths"]["/api/v1/alert-rules"]["post"]["requestBody"]
    rule: dict[str, Any] = example["content"]["application/json"]["examples"]["OneCondition"]
    return dict(rule["value"])


def url_of(path: str, operation: dict[str, Any], values: dict[str, object]) -> str:
    query = []
    for parameter in operation.get("parameters", []):
        name = parameter["name"]
        value = values[name] if name in values else parameter.get("example")
        if parameter["in"] == "path":
            path = path.replace(f"{{{name}}}", str(value))
        elif parameter.get("required") or name in values:
            query.append(f"{name}={value}")
    return f"{path}?{'&'.join(query)}"


@pytest.mark.parametrize(("method", "path", "operation", "body"), list(requests()))
def test_a_documented_request_works_as_it_stands(
    method: str, path: str, operation: dict[str, Any], body: Any, values: dict[str, object]
) -> None:
    if operation["tags"] == ["auth"] and isinstance(body, dict):
        body = {name: values[name] for name in body}
    answer = Client().generic(
        method, url_of(path, operation, values), json.dumps(body) if body else "",
        content_type="application/json", headers={"Authorization": f"Bearer {values['access']}"},
    )  # fmt: skip
    status, described = success(operation)
    assert str(answer.status_code) == status, answer.content
    if described:
        assert problems(answer.json(), described) == []


def test_the_document_is_valid() -> None:
    validate(document())


def test_every_condition_of_alert_rules_has_a_schema() -> None:
    condition = document()["components"]["schemas"]["Condition"]
    assert set(condition["discriminator"]["mapping"]) == set(TYPES)
    assert sorted(each["$ref"] for each in condition["oneOf"]) == sorted(
        condition["discriminator"]["mapping"].values()
    )


CONDITION = {"$ref": "#/components/schemas/Condition"}


@given(st.one_of(*BY_TYPE.values()))
@settings(max_examples=60)
def test_a_condition_is_as_described(condition: dict[str, Any]) -> None:
    assert problems(condition, CONDITION) == []
    assert problems({**condition, "type": "bogus"}, CONDITION) != []
    assert problems({**condition, "colour": "red"}, CONDITION) != []


def test_a_nested_condition_is_as_described() -> None:
    inner = {"type": "above", "value": 1}
    assert problems({"type": "any", "conditions": [inner]}, CONDITION) == []
    assert problems({"type": "any", "conditions": [{"type": "above"}]}, CONDITION) != []
    assert problems({"type": "confidence_above", "value": 2}, CONDITION) != []


@pytest.mark.parametrize("accept", ["application/json", "application/yaml"])
def test_the_document_names_the_server_that_was_asked(accept: str) -> None:
    for host in ("localhost:8123", "testserver"):
        text = Client().get("/api/v1/schema", headers={"Accept": accept, "Host": host}).text
        assert f"http://{host}" in text
        assert "example.org" not in text
        assert ".invalid" not in text
