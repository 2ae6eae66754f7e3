"""Every parameter of every GET, with more than anybody means: that is never our fault."""

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from realtime.api.schema import rendered
from realtime.models import WebhookEndpoint
from tests import personas

pytestmark = pytest.mark.django_db

MANY = {
    "words": "word " * 3000,
    "list": ",".join(["high"] * 5000),
    "symbols": ",".join(f"S{number}" for number in range(5000)),
    "length": "x" * 60_000,
    "number": "9" * 5000,
    "nul": "a\x00b",
    "regex": "(a+)+$",
}


def parameters() -> list[tuple[str, str]]:
    paths = json.loads(rendered("json", "/api/v1"))["paths"]
    return [
        (path, parameter["name"])
        for path, methods in paths.items()
        # Those of a stream of events are answered by the ASGI application: see tests/sse.
        if path.startswith("/api/")
        for parameter in methods.get("get", {}).get("parameters", ())
        if parameter["in"] == "query"
    ]


@pytest.mark.parametrize("value", MANY)
def test_no_value_of_a_parameter_is_our_fault(value: str, caplog: Any) -> None:
    api = APIClient(raise_request_exception=False)
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {personas.token(personas.olga())}")
    hook = WebhookEndpoint.objects.create(owner=personas.olga(), url="https://example.com/hook")
    failed = {}
    for path, name in parameters():
        url = path.replace("{symbol}", "AAPL").replace("{webhook_id}", str(hook.pk))
        code = api.get(url, {name: MANY[value]}).status_code
        if code >= 500:
            failed[url, name] = code
    assert failed == {}
    assert not [record for record in caplog.records if record.exc_info]
