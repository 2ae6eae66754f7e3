"""The browser client: its own tests in Node, and its constants against those of the server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from realtime import protocol, streams
from realtime.alerts.conditions import MAX_DEPTH, Leaf
from realtime.protocol import CloseCode, ErrorCode, ServerMessage
from tests.conftest import require_program
from tests.processes import ROOT

SCRIPTS = ROOT / "realtime" / "static" / "realtime"
TESTS = sorted((ROOT / "tests" / "js").glob("*.test.mjs"))
SECONDS = 60


def node(*arguments: str) -> str:
    """Run Node; fails with what it said."""
    result = subprocess.run(
        [require_program("node"), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def server_types(base: type[ServerMessage]) -> Iterator[str]:
    """`type` of every message that the server builds as a struct."""
    for kind in base.__subclasses__():
        yield str(kind.__struct_config__.tag)
        yield from server_types(kind)


@pytest.fixture(scope="module")
def constants() -> dict[str, Any]:
    """Everything that protocol.js exports, functions left out."""
    url = json.dumps((SCRIPTS / "client" / "protocol.js").as_uri())
    script = f"console.log(JSON.stringify({{...await import({url})}}))"
    exported: dict[str, Any] = json.loads(node("--input-type=module", "--eval", script))
    return exported


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_the_javascript_tests_pass(path: Path) -> None:
    node("--test", str(path))


def test_the_close_codes_of_the_page_are_those_of_the_server(constants: dict[str, Any]) -> None:
    assert constants["CloseCode"] == {code.name: code.value for code in CloseCode}


def test_the_error_codes_of_the_page_are_those_of_the_server(constants: dict[str, Any]) -> None:
    assert constants["ErrorCode"] == {code.name: code.value for code in ErrorCode}


def test_the_page_knows_every_message_of_the_server(constants: dict[str, Any]) -> None:
    assert set(server_types(ServerMessage)) <= set(constants["SERVER_TYPES"])


def test_the_page_knows_every_message_that_a_client_may_send(constants: dict[str, Any]) -> None:
    assert sorted(constants["CLIENT_TYPES"]) == sorted(protocol.CLIENT_TYPES)


def test_the_page_speaks_the_version_of_the_server(constants: dict[str, Any]) -> None:
    assert constants["PROTOCOL_VERSION"] == protocol.PROTOCOL_VERSION
    assert constants["SUBPROTOCOL"] == protocol.SUBPROTOCOL
    assert sorted(constants["CHANNELS"]) == sorted(streams.CHANNELS)


CONDITIONS_OF_FORM = """
const { FIELDS, MAX_DEPTH, TYPES } = await import(URL);
const fields = (type) => Object.fromEntries(
  TYPES[type].fields.map((name) => {
    const { optional = false, default: usual = null, choices = {} } = FIELDS[name];
    return [name, [optional || usual !== null, Object.keys(choices).sort()]];
  }),
);
const types = Object.fromEntries(Object.keys(TYPES).map((type) => [type, fields(type)]));
console.log(JSON.stringify({ types, depth: MAX_DEPTH }));
"""


def test_the_form_of_a_rule_has_the_conditions_of_the_server() -> None:
    url = json.dumps((SCRIPTS / "rule-conditions.js").as_uri())
    script = CONDITIONS_OF_FORM.replace("URL", url)
    form = json.loads(node("--input-type=module", "--eval", script))
    expected = {
        kind.__struct_config__.tag: {
            field.name: [not field.required, sorted(choices(field.type))]
            for field in msgspec.structs.fields(kind)
        }
        for kind in get_args(Leaf)
    }
    assert form == {"types": expected, "depth": MAX_DEPTH}


def choices(kind: object) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()
