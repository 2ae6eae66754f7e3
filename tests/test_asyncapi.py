"""The AsyncAPI document: valid, complete, and the same as what is on the wire."""

import gzip
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from jsonschema import Draft7Validator, Draft202012Validator

from realtime import protocol
from realtime.asyncapi import CLIENT_MESSAGES, document
from realtime.protocol import CloseCode, ErrorCode
from tests import wire
from tests.processes import ROOT
from tests.test_protocol import FROM_CLIENT, FROM_SERVER

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
