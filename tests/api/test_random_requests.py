"""Random requests made from the OpenAPI document: every answer is one that it describes."""

import os
from collections.abc import Iterator
from typing import Final

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from tests import personas
from tests.api.test_document import document

# Of each operation, once valid and once not. `make fuzz` asks for more.
EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "2"))
SEED: Final = int(os.environ.get("FUZZ_SEED", "1"))
# These are no views, or end the login that asks.
LEFT_OUT: Final = ("events_of_", "log_out_everywhere")
CHECKS: Final = [not_a_server_error, status_code_conformance, response_schema_conformance]

SCHEMA: Final = schemathesis.openapi.from_dict(document())
OPERATIONS: Final = {
    result.ok().definition.raw["operationId"]: result.ok() for result in SCHEMA.get_all_operations()
}


@pytest.fixture
def application(db: None) -> Iterator[WSGIHandler]:
    """As Django's own test client: requests keep the connection with the test's transaction."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield WSGIHandler()
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
@pytest.mark.parametrize("name", [name for name in OPERATIONS if not name.startswith(LEFT_OUT)])
def test_an_answer_is_one_that_is_documented(
    name: str, mode: GenerationMode, application: WSGIHandler
) -> None:
    token = personas.token(personas.olga())

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(OPERATIONS[name].as_strategy(mode))
    def ask(case: Case) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        answer = case.call("http://testserver", headers=headers, app=application)
        case.validate_response(answer, checks=CHECKS)

    ask()
