"""The words of both sides of the wire, and of operators, each with its place in the reference."""

import json
import re
from functools import cache
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from realtime.api.common_document import TAGS, operations
from realtime.api.schema import rendered
from realtime.asyncapi import CLIENT_MESSAGES, messages_of
from realtime.models import WebhookEvent
from realtime.protocol import AlertConfig, CloseCode, ErrorCode
from realtime.streams import CHANNELS
from tests.documents import names, rows, section
from tests.processes import ROOT

SERVER_MESSAGES = {kind for channel in CHANNELS for kind in messages_of(channel)[1]}


def documented(title: str) -> dict[str, set[str]]:
    """The fields of messages, by their types."""
    found: dict[str, set[str]] = {}
    for types, fields, *_ in rows(title):
        for kind in names(types):
            found.setdefault(kind, set()).update(
                name for name in names(fields) if not name.startswith("/")
            )
    return found


def declared(kinds: set[type[Struct]], given: str) -> dict[str, set[str]]:
    """The same from the code, but for the field that every one of these messages has."""
    found: dict[str, set[str]] = {}
    for kind in kinds:
        fields = {field.encode_name for field in msgspec.structs.fields(kind)}
        found.setdefault(str(kind.__struct_config__.tag), set()).update(fields - {given})
    return found


def test_the_reference_lists_every_message_of_the_server() -> None:
    assert documented("Server to client") == declared(SERVER_MESSAGES, "timestamp")


def test_the_reference_lists_every_message_of_clients() -> None:
    expected = declared(set(CLIENT_MESSAGES), "id")
    expected["configure_alerts"] |= set(AlertConfig.__struct_fields__)
    assert documented("Client to server") == expected


def test_the_reference_lists_every_close_code() -> None:
    listed = {int(number): name for number, name, *_ in rows("Close codes")}
    assert listed == {code: code.name.lower() if code >= 4000 else "" for code in CloseCode}


def test_the_reference_lists_every_error_code() -> None:
    _, _, listed = section("Error codes").partition(":")
    assert names(listed) == list(ErrorCode)


def test_the_reference_lists_every_event_of_webhooks() -> None:
    assert {name for event, *_ in rows("Webhooks") for name in names(event)} == set(WebhookEvent)


@pytest.mark.parametrize(
    ("title", "module", "pattern"),
    [
        ("Metrics", "api/*metrics.py", r"\b(ara_[a-z_]+?)(?:_total)?(?![a-z_])"),
        ("Checks", "checks.py", r"\b([EW]\d{3})\b"),
    ],
)
def test_the_reference_lists_every_metric_and_check(title: str, module: str, pattern: str) -> None:
    code = "".join(path.read_text() for path in sorted((ROOT / "realtime").glob(module)))
    defined = re.findall(f'"(?:realtime\\.)?{pattern}"', code)
    listed = [found for cells in rows(title) for found in re.findall(pattern, cells[0])]
    assert sorted(listed) == sorted(set(defined))


@cache
def rest_operations() -> list[dict[str, Any]]:
    return list(operations(json.loads(rendered("json", "/api/v1"))))


def test_every_operation_of_rest_says_what_it_takes() -> None:
    for operation in rest_operations():
        name = operation["operationId"]
        parameters = operation.get("parameters", [])
        assert operation.get("summary"), f"{name} has no summary"
        assert [each["name"] for each in parameters if not each.get("description")] == [], name
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]
            assert body.get("examples"), f"realtime/api/examples.py has no request for {name}"


def test_every_operation_of_rest_says_which_errors_it_answers() -> None:
    for operation in rest_operations():
        expected = {"503"}
        expected |= {"401", "403"} if "security" in operation else set()
        expected |= {"400", "413", "415"} if "requestBody" in operation else set()
        assert expected <= set(operation["responses"]), operation["operationId"]


def test_the_groups_of_rest_are_described_in_reading_order() -> None:
    used = {tag for operation in rest_operations() for tag in operation["tags"]}
    assert used == set(TAGS), "TAGS of realtime/api/common_document.py"
