"""The severities of alerts are four, whichever way an alert or a rule comes."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from realtime import broadcast
from realtime.delivery.layers import group_send_sync
from realtime.models import Alert, AlertRule
from realtime.payloads import InvalidUpdate
from tests import personas

pytestmark = pytest.mark.django_db(transaction=True)
BOGUS = {"message": "m", "severity": "bogus"}
RULE = {"symbols": ["A"], "conditions": [{"type": "above", "value": 1}], "severity": "bogus"}
CHOICES = "low, medium, high, critical"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises((InvalidUpdate, CommandError)) as refused:
        call()
    return str(refused.value)


def answer(path: str, body: object) -> str:
    headers = {"Authorization": f"Bearer {personas.token(personas.olga())}"}
    answer = Client().post(f"/api/v1/{path}", body, "application/json", headers=headers)
    assert answer.status_code == 400
    return answer.content.decode()


def group_message() -> None:
    message = {"type": "stream.update", "data": BOGUS}
    layer: Any = get_channel_layer()
    group_send_sync(layer, "alerts.all", message)


def admin_page() -> str:
    client = Client()
    client.force_login(personas.olga())
    data = {"everybody": "on", "definition": json.dumps(RULE)}
    return client.post(reverse("admin:realtime_alertrule_add"), data).content.decode()


WAYS: dict[str, Callable[[], str]] = {
    "a function": lambda: refusal(lambda: broadcast.send_alert(BOGUS)),
    "many at once": lambda: refusal(lambda: broadcast.alert_update(BOGUS, 1)),
    "the command": lambda: refusal(lambda: call_command("send_alert", json.dumps(BOGUS))),
    "group_send": lambda: refusal(group_message),
    "REST": lambda: answer("publish", {"type": "alert", "data": BOGUS}),
    "a rule over REST": lambda: answer("alert-rules", RULE),
    "a preview": lambda: answer("alert-rules/preview", RULE),
    "a dry run": lambda: answer("alert-rules/dry-run", RULE),
    "the admin": admin_page,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("transactional_db", "redis_layer")
def test_an_unknown_severity_is_refused_with_the_choices(way: str) -> None:
    assert CHOICES in WAYS[way]()
    assert not Alert.objects.exists()
    assert not AlertRule.objects.exists()
