from typing import Any

import pytest
from django.conf import settings as django_settings
from rest_framework.test import APIClient

from realtime.alerts import progress
from realtime.alerts.firing import Draft
from realtime.alerts.progress import Commit
from realtime.api.destinations import TESTS_PER_MINUTE
from realtime.models import AlertRule, Destination, WebhookDelivery
from realtime.webhooks.queue import claim, finish
from realtime.webhooks.results import AttemptResult
from tests import personas
from tests.api.test_webhooks import with_token

pytestmark = pytest.mark.django_db
PATH, RULES = "/api/v1/destinations", "/api/v1/alert-rules"
CHAT = "ntfys://ntfy.sh/alices-secret-topic"
RULE = {"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}]}


@pytest.fixture(autouse=True)
def _mail_is_set_up(settings: type[django_settings]) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.REALTIME_PUBLIC_URL = "https://realtime.example.com"


@pytest.fixture
def alice() -> APIClient:
    return with_token(personas.token(personas.alice(email="alice@example.com")))


def create(client: APIClient, address: str = CHAT, **fields: Any) -> Any:
    return client.post(PATH, {"address": address, **fields}, format="json")


def test_a_chat_is_added_and_its_secret_shown_to_nobody(alice: APIClient) -> None:
    answer = create(alice, description="Phone")
    body = answer.json()
    assert (answer.status_code, body["kind"], body["confirmed"]) == (201, "chat", True)
    assert alice.get(f"{PATH}/{body['id']}").json() == body
    assert alice.get(PATH).json()["results"] == [body]
    assert "topic" not in str(body)


def test_a_foreign_mail_address_is_added_unconfirmed(alice: APIClient) -> None:
    body = create(alice, "somebody@example.net").json()
    assert (body["kind"], body["address"], body["confirmed"]) == (
        "email", "somebody@example.net", False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"address": "nonsense"}, "address"),
        ({"address": None}, "address"),
        ({"address": ["a@example.com"]}, "address"),
        ({"address": "ntfys://10.0.0.1/topic"}, "address"),
        ({"quiet_hours": {"start": "22:00"}}, "quiet_hours"),
        ({"quiet_hours": "night"}, "quiet_hours"),
        ({"description": "x" * 201}, "description"),
        ({"enabled": "perhaps"}, "enabled"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_its_field(
    alice: APIClient, fields: dict[str, Any], named: str
) -> None:
    answer = alice.post(PATH, {"address": CHAT, **fields}, format="json")
    assert (answer.status_code, list(answer.json())) == (400, [named])


def test_a_destination_is_changed_paused_and_resumed(alice: APIClient) -> None:
    path = f"{PATH}/{create(alice).json()['id']}"
    hours = {"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"}
    assert alice.patch(path, {"quiet_hours": hours}, format="json").json()["quiet_hours"] == hours
    paused = alice.patch(path, {"enabled": False}, format="json").json()
    assert (paused["enabled"], paused["disabled_reason"]) == (False, "owner")
    assert alice.post(f"{path}/test").status_code == 403
    assert alice.patch(path, {"enabled": True}, format="json").json()["enabled"]
    assert alice.delete(path).status_code == 204


def test_an_address_stays(alice: APIClient) -> None:
    path = f"{PATH}/{create(alice).json()['id']}"
    answer = alice.patch(path, {"address": "ntfys://ntfy.sh/other"}, format="json")
    assert (answer.status_code, list(answer.json())) == (400, ["address"])


def test_a_test_shows_its_result(alice: APIClient) -> None:
    path = f"{PATH}/{create(alice).json()['id']}"
    assert alice.post(f"{path}/test").status_code == 202
    assert alice.get(path).json()["last_result"] is None
    finish(*claim(10), AttemptResult(code=200))
    result = alice.get(path).json()["last_result"]
    assert (result["status"], result["error"]) == ("delivered", "")


def test_tests_are_limited(alice: APIClient) -> None:
    path = f"{PATH}/{create(alice).json()['id']}/test"
    answers = [alice.post(path).status_code for _ in range(TESTS_PER_MINUTE + 1)]
    assert answers == [202] * TESTS_PER_MINUTE + [429]


def test_nobody_sees_what_is_another_user_s(alice: APIClient) -> None:
    path = f"{PATH}/{create(alice).json()['id']}"
    olga = with_token(personas.token(personas.olga()))
    assert olga.get(path).status_code == olga.delete(path).status_code == 404
    assert olga.get(PATH).json()["results"] == []
    assert alice.get("/api/v1/webhooks").json()["results"] == []


def test_a_user_has_so_many_at_most(alice: APIClient, settings: type[django_settings]) -> None:
    settings.REALTIME_DESTINATIONS_PER_USER = 1
    create(alice)
    assert create(alice).status_code == 403


def test_an_alert_of_a_rule_is_queued_with_the_commit_that_stores_it(alice: APIClient) -> None:
    pk = create(alice).json()["id"]
    made = alice.post(RULES, {**RULE, "destinations": [pk]}, format="json").json()
    assert made["destinations"] == [pk]
    rule = AlertRule.objects.get()
    fired = Draft("u", rule.pk, rule.owner_id, "AAPL", "low", {"message": "fired"}, frozenset(),
                  None, None, tuple(made["destinations"]))  # fmt: skip
    progress.write(Commit(drafts=[fired]))
    (row,) = WebhookDelivery.objects.all()
    assert (row.endpoint_id, row.event, row.symbol) == (pk, "alert_triggered", "AAPL")


@pytest.mark.parametrize("ids", [[0], [-1], [99], [2**70], ["x"], "all", list(range(1, 30))])
def test_a_rule_names_destinations_of_its_owner_alone(alice: APIClient, ids: object) -> None:
    answer = alice.post(RULES, {**RULE, "destinations": ids}, format="json")
    assert answer.status_code == 400
    assert next(iter(answer.json())).startswith("destinations")


def test_a_foreign_destination_is_refused(alice: APIClient) -> None:
    pk = create(with_token(personas.token(personas.olga()))).json()["id"]
    answer = alice.post(RULES, {**RULE, "destinations": [pk]}, format="json")
    assert list(answer.json()) == ["destinations"]
    assert Destination.objects.count() == 1
