"""Alert rules and the inbox over REST."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db.models import JSONField, Value
from django.test import Client
from django.utils import timezone

from realtime.alerts.rules import Definition
from realtime.api.alerts import READ_ONLY, AlertRuleSerializer
from realtime.broadcast import broadcast_market_data, send_alert
from realtime.models import AlertRule, Bar
from tests import personas

pytestmark = pytest.mark.django_db(transaction=True)
RULES = "/api/v1/alert-rules"
RULE = {
    "symbols": ["AAPL"],
    "conditions": [{"type": "above", "value": 150}],
    "for": 5,
    "cooldown": 60,
}


class Api:
    """A client with somebody's credential."""

    def __init__(self, credential: str) -> None:
        self.headers = {"Authorization": f"Bearer {credential}"}
        self.client = Client()

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        return self.client.generic(
            method, path, headers=self.headers, content_type="application/json",
            data="" if body is None else json.dumps(body),
        )  # fmt: skip


@pytest.fixture
def alice(transactional_db: None) -> Api:
    return Api(personas.token(personas.alice()))


@pytest.fixture
def bob(transactional_db: None) -> Api:
    return Api(personas.bob_key()[1])


def test_the_document_of_rest_lists_every_field_of_a_rule() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(Definition)}
    assert set(AlertRuleSerializer().fields) == {*fields, *READ_ONLY}


def test_a_rule_is_created_read_changed_paused_and_deleted(alice: Api) -> None:
    created = alice("POST", RULES, RULE)
    assert created.status_code == 201, created.content
    body = created.json()
    assert body.items() >= RULE.items()
    path = f"{RULES}/{body['id']}"
    assert alice("GET", path).json() == body
    assert [rule["id"] for rule in alice("GET", RULES).json()["results"]] == [body["id"]]
    changed = alice("PATCH", path, {"cooldown": None, "severity": "high"}).json()
    assert ("cooldown" in changed, changed["severity"], changed["for"]) == (False, "high", 5)
    assert alice("POST", f"{path}/pause").json()["paused"] is True
    assert alice("POST", f"{path}/resume").json()["paused"] is False
    assert AlertRule.objects.get().revision == 4
    assert alice("PUT", path, {**body, "once": True}).json()["once"] is True
    assert alice("DELETE", path).status_code == 204
    assert alice("GET", path).status_code == 404


def test_a_bad_rule_is_refused_with_its_field(alice: Api) -> None:
    answer = alice("POST", RULES, {**RULE, "conditions": [{"type": "above", "value": "x"}]})
    assert answer.status_code == 400
    assert list(answer.json()) == ["conditions[0].value"]
    both = alice("POST", RULES, {**RULE, "severity": "loud", "conditions": []}).json()
    assert sorted(both) == ["conditions", "severity"]
    assert alice("POST", RULES, []).status_code == 400


@pytest.mark.parametrize("definition", [[], {"symbols": 7}, None])
def test_a_rule_that_cannot_be_read_keeps_no_other_from_it(alice: Api, definition: Any) -> None:
    ids = [alice("POST", RULES, RULE).json()["id"] for _ in range(2)]
    AlertRule.objects.filter(pk=ids[0]).update(definition=Value(definition, JSONField()))
    broken, sound = alice("GET", RULES).json()["results"]
    assert ("symbols" in broken, sound.items() >= RULE.items()) == (False, True)
    path = f"{RULES}/{ids[0]}"
    assert list(alice("PATCH", path, {"cooldown": 1}).json()) == ["rule"]
    assert alice("PUT", path, RULE).json().items() >= RULE.items()


def test_nobody_sees_the_rules_of_another_user(alice: Api, bob: Api) -> None:
    id = alice("POST", RULES, RULE).json()["id"]
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("PUT", ""), ("PATCH", ""), ("POST", "/pause"),
    ):  # fmt: skip
        assert bob(method, f"{RULES}/{id}{path}", RULE).status_code == 404
    assert bob("GET", RULES).json()["results"] == []


def test_a_credential_without_the_scope_has_no_rules_and_no_inbox(transactional_db: None) -> None:
    _, key = personas.bob_key(scopes=["market-data"])
    for path in (RULES, "/api/v1/alerts"):
        assert Api(key)("GET", path).status_code == 403
        assert Client().get(path).status_code == 401


def test_there_is_a_limit_of_rules(alice: Api, settings: Any) -> None:
    settings.REALTIME_ALERT_RULES_PER_USER = 1
    assert alice("POST", RULES, RULE).status_code == 201
    assert alice("POST", RULES, RULE).status_code == 403


def test_a_rule_may_not_name_the_webhook_of_another_user(alice: Api) -> None:
    answer = alice("POST", RULES, {**RULE, "escalate_to": 1, "escalate_after": 60})
    assert list(answer.json()) == ["escalate_to"]


def test_a_dry_run_plays_the_history_through_a_rule(alice: Api) -> None:
    for price in (149, 151, 149, 152):
        broadcast_market_data("AAPL", {"price": price})
    rule = {**RULE, "for": 0}
    report = alice("POST", f"{RULES}/dry-run", rule).json()
    assert (report["fired"], report["fired_without_cooldown"], report["updates"]) == (1, 2, 4)
    assert report["times"][0]["price"] == 151
    assert not AlertRule.objects.exists()


def test_a_dry_run_plays_stored_bars_through_a_rule(alice: Api) -> None:
    for day, close in enumerate((149, 151, 148, 155)):
        start = datetime(2024, 1, 2, tzinfo=UTC) + timedelta(days=day)
        Bar.objects.create(
            symbol="AAPL", interval="1d", start=start,
            open=close, high=close + 0.5, low=close - 0.5, close=close,
        )  # fmt: skip
    report = alice("POST", f"{RULES}/dry-run", {**RULE, "for": 0, "past": "1d"}).json()
    assert (report["past"], report["updates"], report["fired"]) == ("1d", 16, 2)
    assert report["begin"] == "2024-01-02T00:00:00.000Z"
    assert alice("POST", f"{RULES}/dry-run", {**RULE, "past": "2d"}).status_code == 400


def test_the_inbox_is_listed_filtered_and_acknowledged(alice: Api) -> None:
    owner = personas.alice()
    send_alert({"message": "low", "severity": "low", "symbol": "AAPL"}, user_id=owner.pk)
    send_alert({"message": "high", "severity": "high", "symbol": "MSFT"})

    def messages(query: str = "") -> list[str]:
        answer = alice("GET", f"/api/v1/alerts{query}")
        return [alert["data"]["message"] for alert in answer.json()["results"]]

    assert messages() == ["high", "low"]
    assert messages("?severity=high,critical") == ["high"]
    assert messages("?symbol=aapl") == ["low"]
    later = (timezone.now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert messages(f"?since={later}") == []
    first = alice("GET", "/api/v1/alerts").json()["results"][0]
    assert (first["acknowledged"], first["audience"]) == (False, "all")
    answer = alice("POST", "/api/v1/alerts/ack", {"ids": [first["id"], "unknown"]})
    assert answer.json() == {"ids": [first["id"]]}
    assert messages("?unacknowledged=true") == ["low"]
    assert alice("GET", "/api/v1/alerts").json()["results"][0]["acknowledged"] is True


@pytest.mark.parametrize("query", ["severity=loud", "symbol=a b", "since=now", "colour=red"])
def test_a_filter_that_is_none_is_refused(alice: Api, query: str) -> None:
    assert alice("GET", f"/api/v1/alerts?{query}").status_code == 400
