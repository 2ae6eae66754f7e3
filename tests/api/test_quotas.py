"""Limits of what a user may have, when many requests come at once."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from rest_framework.test import APIClient

from realtime.access.identity import identity_of_user
from realtime.alerts.rule_editing import TooManyRules, replace_rules
from realtime.alerts.rules import parse_rule
from realtime.api import keys
from realtime.models import AlertRule, ApiKey, WebhookEndpoint
from tests import personas

pytestmark = pytest.mark.django_db(transaction=True)
AT_ONCE, LIMIT = 8, 2
RULE = {"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}]}


def all_at_once(work: Callable[[int], Any]) -> list[Any]:
    """The answers of threads that begin together."""
    start, answers = threading.Barrier(AT_ONCE), []

    def run(number: int) -> None:
        start.wait()
        try:
            answers.append(work(number))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.fixture
def limits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REALTIME_WEBHOOKS_PER_USER = settings.REALTIME_ALERT_RULES_PER_USER = LIMIT
    monkeypatch.setattr(keys, "MAX_KEYS", LIMIT)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("webhooks", {"url": "https://example.com/hook"}, WebhookEndpoint),
        ("alert-rules", RULE, AlertRule),
        ("keys", {}, ApiKey),
    ],
)
def test_requests_at_once_do_not_pass_a_limit_together(
    path: str, body: dict[str, Any], model: Any
) -> None:
    token = personas.token(personas.alice())

    def post(number: int) -> int:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        fields = {**body, "name": f"number {number}"} if path == "keys" else body
        code: int = client.post(f"/api/v1/{path}", fields, format="json").status_code
        return code

    codes = all_at_once(post)
    assert sorted(codes) == [201] * LIMIT + [403] * (AT_ONCE - LIMIT)
    assert model.objects.count() == LIMIT


@pytest.mark.usefixtures("limits")
def test_sockets_at_once_do_not_pass_the_limit_of_rules_together() -> None:
    alice: User = personas.alice()
    definitions = [(None, parse_rule(RULE)) for _ in range(LIMIT)]

    def replace(number: int) -> None:
        with contextlib.suppress(TooManyRules):
            replace_rules(identity_of_user(alice), definitions)

    all_at_once(replace)
    assert AlertRule.objects.count() == LIMIT
