"""The AsyncAPI document: valid, complete, and the same as what is on the wire."""

import gzip
import html
import json
import re
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from jsonschema import Draft7Validator, Draft202012Validator

from realtime import protocol
from realtime.asyncapi import CLIENT_MESSAGES, document
from realtime.feeds.ticks import Tick
from realtime.predictions.predictors import Prediction
from realtime.protocol import CloseCode, ErrorCode
from tests import wire
from tests.processes import ROOT
from tests.test_protocol import FROM_CLIENT, FROM_SERVER

NOW = datetime(2024, 1, 1, 12, tzinfo=UTC)
DOCUMENT = document("example.com", secure=True)
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
FROM_CLIENT_NAMES = {kind.__name__ for kind in CLIENT_MESSAGES}


def shapes(kind: str, *, client: bool = False) -> list[str]:
    """The schemas of the messages of a type, which one side sends."""
    names = [
        message["payload"]["$ref"].rpartition("/")[2]
        for message in MESSAGES.values()
        if message["name"] == kind
    ]
    return [name for name in names if (name in FROM_CLIENT_NAMES) is client]


def problems(message: dict[str, Any], name: str) -> list[str]:
    """What a message has that its schema does not know, or does not allow."""
    schemas = {**SCHEMAS, name: {**SCHEMAS[name], "additionalProperties": False}}
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    return [error.message for error in Draft202012Validator(schema).iter_errors(message)]


def assert_described(message: dict[str, Any], *, client: bool = False) -> None:
    names = shapes(message["type"], client=client)
    found = {name: problems(message, name) for name in names}
    assert [] in found.values(), f"{message}: {found}"


def test_the_document_keeps_the_rules_of_asyncapi() -> None:
    rules = json.loads(gzip.decompress((ROOT / "tests/asyncapi/3.0.0.json.gz").read_bytes()))
    assert [error.message for error in Draft7Validator(rules).iter_errors(DOCUMENT)] == []


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        inner = [name for item in value.values() for name in references(item)]
        return [*inner, value["$ref"]] if isinstance(value.get("$ref"), str) else inner
    return [name for item in value for name in references(item)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        place: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_message_is_in_a_channel_and_in_an_operation() -> None:
    assert {message["name"] for message in MESSAGES.values()} == {
        *wire.SERVER_MESSAGES,
        *protocol.CLIENT_TYPES,
    }
    in_channels = {name for each in DOCUMENT["channels"].values() for name in each["messages"]}
    done = {
        message["$ref"].rpartition("/")[2]
        for operation in DOCUMENT["operations"].values()
        for message in operation["messages"]
    }
    assert in_channels == done == set(MESSAGES)


@pytest.mark.parametrize("kind", wire.SERVER_MESSAGES)
def test_every_field_of_the_contract_is_described(kind: str) -> None:
    required, optional = wire.SERVER_MESSAGES[kind]
    properties = [SCHEMAS[name]["properties"] for name in shapes(kind)]
    assert {name for each in properties for name in each} == {
        "type", "timestamp", *required, *optional,
    }  # fmt: skip
    for name in shapes(kind):
        assert {"type", "timestamp", *required} <= set(SCHEMAS[name]["required"])


@pytest.mark.parametrize("message", FROM_SERVER, ids=lambda message: message["type"])
def test_an_example_from_the_server_is_as_described(message: dict[str, Any]) -> None:
    assert_described(message)


@pytest.mark.parametrize("message", FROM_CLIENT, ids=lambda message: message["type"])
def test_an_example_from_a_client_is_as_described(message: dict[str, Any]) -> None:
    assert_described(message, client=True)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_example_of_a_message_is_as_described(name: str) -> None:
    [example] = MESSAGES[name]["examples"]
    schema = MESSAGES[name]["payload"]["$ref"].rpartition("/")[2]
    assert problems(example["payload"], schema) == []
    if schema in FROM_CLIENT_NAMES:
        assert protocol.parse(json.dumps(example["payload"]))


TICK = Tick(
    "AAPL", 149.5, 100.0, NOW, "replay", id="1", open=149.0, high=150.0, low=148.0, close=149.5,
    previous_close=148.0, bar_date=NOW.date(), bid=149.4, ask=149.6, volume_24h=1e6, backfill=True,
)  # fmt: skip
PREDICTION = Prediction(
    symbol="AAPL", predicted_price=150.0, lower=148.0, upper=152.0, confidence=0.9, horizon=1,
    last_price=149.5, model="mine", model_version="1", timestamp=NOW, source="replay", step="1d",
    valid_until=NOW,
)  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "data"), [("MarketData", TICK.as_data()), ("Prediction", PREDICTION.as_data())]
)
def test_what_feeds_and_predictors_publish_is_described(schema: str, data: dict[str, Any]) -> None:
    assert problems(data, schema) == []  # nor has it fields that the schema does not know
    assert problems({**data, "source": 1}, schema) != []


def test_data_may_have_fields_of_other_publishers() -> None:
    for message in ("MarketDataUpdate", "PredictionUpdate", "PredictionAnswer", "LiveAlert"):
        reference = SCHEMAS[message]["properties"]["data"]["$ref"]
        assert SCHEMAS[reference.rpartition("/")[2]]["additionalProperties"] is True


def test_every_field_of_a_message_says_what_it_means() -> None:
    unsaid = [
        f"{name}.{field}"
        for name, schema in SCHEMAS.items()
        for field, described in schema.get("properties", {}).items()
        if field != "type" and "$ref" not in described and not described.get("description")
    ]
    assert unsaid == []


def test_every_code_has_its_meaning() -> None:
    for kind in (CloseCode, ErrorCode):
        told = {each["const"]: each["description"] for each in SCHEMAS[kind.__name__]["oneOf"]}
        assert told == {code.value: code.meaning for code in kind}
        assert all(told.values())


def test_every_message_says_what_it_is() -> None:
    assert [name for name, message in MESSAGES.items() if not message["summary"]] == []


def test_the_addresses_are_those_of_the_contract() -> None:
    assert {each["address"] for each in DOCUMENT["channels"].values()} == {
        "/ws/predictions", "/ws/predictions/{symbol}",
        "/ws/market-data", "/ws/market-data/{symbol}", "/ws/alerts",
    }  # fmt: skip


def test_a_server_publishes_its_own_document() -> None:
    answer = Client().get("/api/v1/asyncapi.json", HTTP_HOST="localhost:8123")
    assert answer.status_code == 200
    assert answer.json() == document("localhost:8123")
    assert Client().post("/api/v1/asyncapi.json").status_code == 405


def test_the_page_of_the_document_shows_every_message_field_and_code() -> None:
    answer = Client().get("/api/v1/asyncapi", HTTP_HOST="localhost:8123")
    page = html.unescape(answer.text)
    assert "ws://localhost:8123" in page
    for name, message in MESSAGES.items():
        assert f'id="message-{name}"' in page
        assert json.dumps(message["examples"][0]["payload"], indent=2) in page
    for schema in SCHEMAS.values():
        assert all(f"<code>{field}</code>" in page for field in schema.get("properties", {}))
    assert all(code.meaning.partition("`")[0] in page for code in (*CloseCode, *ErrorCode))


def test_every_link_within_the_page_leads_somewhere() -> None:
    page = Client().get("/api/v1/asyncapi").text
    anchors = re.findall(r'id="([^"]+)"', page)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(anchors)
    assert len(anchors) == len(set(anchors))


def test_the_page_loads_nothing_from_elsewhere_and_needs_no_script() -> None:
    answer = Client().get("/api/v1/asyncapi")
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert "http" not in answer.text
    assert "default-src 'none'" in answer["Content-Security-Policy"]


def test_the_command_prints_the_document() -> None:
    output = StringIO()
    call_command("asyncapi", "--url", "wss://example.com", stdout=output)
    assert json.loads(output.getvalue()) == DOCUMENT


def test_the_command_names_the_path_of_a_project() -> None:
    output = StringIO()
    call_command("asyncapi", "--url", "wss://example.com/live/", stdout=output)
    assert json.loads(output.getvalue())["servers"]["this"]["pathname"] == "/live"


@pytest.mark.parametrize(
    "url", ["example.com", "https://example.com", "ws://", "ws://a?b=c", "ws://["]
)
def test_the_command_refuses_what_is_no_server(url: str) -> None:
    with pytest.raises(CommandError, match="wss://"):
        call_command("asyncapi", "--url", url)
