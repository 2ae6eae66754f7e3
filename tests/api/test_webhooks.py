from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from rest_framework.test import APIClient

from realtime.api import webhooks
from realtime.api.webhooks import TESTS_PER_MINUTE
from realtime.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from realtime.webhooks.events import emit
from realtime.webhooks.queue import disable
from tests import personas

pytestmark = pytest.mark.django_db
HOOKS = "/api/v1/webhooks"
URL = "https://hooks.example.com/ara"
Problem = WebhookAttempt.Problem


def with_token(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def alice() -> APIClient:
    return with_token(personas.token(personas.alice()))


@pytest.fixture
def olga() -> APIClient:
    return with_token(personas.token(personas.olga()))


def create(client: APIClient, **fields: Any) -> Any:
    return client.post(HOOKS, {"url": URL, **fields}, format="json")


@pytest.fixture
def hook(alice: APIClient) -> str:
    """The path of a webhook of Alice."""
    return f"{HOOKS}/{create(alice).json()['id']}"


def the_endpoint() -> WebhookEndpoint:
    return WebhookEndpoint.objects.get()


def test_alice_creates_a_webhook_and_sees_its_secret_once(alice: APIClient) -> None:
    answer = create(alice, events=["alert_triggered"], symbols=["btc*"], description="Desk")
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    body = answer.json()
    assert body["events"] == ["alert_triggered"]
    assert body["symbols"] == ["BTC*"]
    assert the_endpoint().secrets(timezone.now()) == [body.pop("secret")]
    assert alice.get(f"{HOOKS}/{body['id']}").json() == body
    assert alice.get(HOOKS).json()["results"] == [body]
    assert "sealed" not in str(body)


def test_a_webhook_is_for_everything_unless_it_says_otherwise(alice: APIClient) -> None:
    body = create(alice).json()
    assert body["enabled"]
    assert body["symbols"] == []
    assert len(body["events"]) == 5


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "https://" + "x" * 600}, "url"),
        ({"url": ""}, "url"),
        ({"url": None}, "url"),
        ({"url": ["https://example.com"]}, "url"),
        ({"events": []}, "events"),
        ({"events": ["price"]}, "events"),
        ({"events": "test"}, "events"),
        ({"symbols": ["no symbol"]}, "symbols"),
        ({"symbols": "AAPL"}, "symbols"),
        ({"symbols": ["A"] * 101}, "symbols"),
        ({"description": "x" * 201}, "description"),
        ({"enabled": "perhaps"}, "enabled"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_webhook_that_cannot_be_is_refused_with_the_field(
    alice: APIClient, hook: str, fields: dict[str, Any], named: str
) -> None:
    for answer in (create(alice, **fields), alice.patch(hook, fields, format="json")):
        assert (answer.status_code, list(answer.json())) == (400, [named])
    assert the_endpoint().url == URL


def test_the_number_of_webhooks_is_limited(
    alice: APIClient, olga: APIClient, settings: type[django_settings]
) -> None:
    settings.REALTIME_WEBHOOKS_PER_USER = 2
    assert [create(alice).status_code for _ in range(3)] == [201, 201, 403]
    assert create(olga).status_code == 201


def test_tests_are_limited_by_user(alice: APIClient, olga: APIClient, hook: str) -> None:
    other = f"{HOOKS}/{create(alice).json()['id']}"
    for number in range(TESTS_PER_MINUTE):
        assert alice.post(f"{(hook, other)[number % 2]}/test").status_code == 202
    refused = alice.post(f"{other}/test")
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 60
    assert WebhookDelivery.objects.count() == TESTS_PER_MINUTE
    hers = f"{HOOKS}/{create(olga).json()['id']}"
    assert olga.post(f"{hers}/test").status_code == 202


def test_resends_are_limited_by_user(
    alice: APIClient, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "RESENDS_PER_MINUTE", 2)
    alice.post(f"{hook}/test")
    one = f"{hook}/deliveries/{WebhookDelivery.objects.get().pk}/resend"
    assert alice.post(one).status_code == 202
    every = {"since": "2024-01-01T00:00:00Z"}
    assert alice.post(f"{hook}/resend", every, format="json").status_code == 202
    for refused in (alice.post(one), alice.post(f"{hook}/resend", every, format="json")):
        assert refused.status_code == 429


def test_alice_changes_her_webhook(alice: APIClient, hook: str) -> None:
    answer = alice.patch(
        hook, {"url": "https://other.example/", "symbols": ["aapl"]}, format="json"
    )
    assert answer.status_code == 200
    endpoint = the_endpoint()
    assert (endpoint.url, endpoint.symbols) == ("https://other.example/", ["AAPL"])


def test_alice_disables_and_enables_her_webhook(alice: APIClient, hook: str) -> None:
    emit("test", {}, symbol=None)
    off = alice.patch(hook, {"enabled": False}, format="json").json()
    assert (off["enabled"], off["disabled_reason"]) == (False, "owner")
    assert WebhookDelivery.objects.get().status == "failed"
    on = alice.patch(hook, {"enabled": True}, format="json").json()
    assert (on["enabled"], on["disabled_reason"]) == (True, "")


def test_what_failed_for_five_days_begins_anew_when_it_is_enabled(
    alice: APIClient, hook: str
) -> None:
    WebhookEndpoint.objects.update(failing_since=timezone.now() - timedelta(days=5))
    disable(the_endpoint(), WebhookEndpoint.Reason.FAILING)
    assert alice.patch(hook, {"enabled": True}, format="json").json()["failing_since"] is None


def test_alice_deletes_her_webhook_and_its_log(alice: APIClient, hook: str) -> None:
    emit("test", {}, symbol=None)
    assert alice.delete(hook).status_code == 204
    assert not WebhookEndpoint.objects.exists()
    assert not WebhookDelivery.objects.exists()


def test_alice_rotates_her_secret(alice: APIClient, hook: str) -> None:
    (old,) = the_endpoint().secrets(timezone.now())
    answer = alice.post(f"{hook}/rotate", {"overlap_seconds": 60}, format="json")
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    endpoint = the_endpoint()
    assert endpoint.secrets(timezone.now()) == [answer.json()["secret"], old]
    assert endpoint.secrets(timezone.now() + timedelta(seconds=61)) == [answer.json()["secret"]]


@pytest.mark.parametrize("seconds", [-1, 31 * 86400, "long"])
def test_an_overlap_that_cannot_be_is_refused(alice: APIClient, hook: str, seconds: object) -> None:
    answer = alice.post(f"{hook}/rotate", {"overlap_seconds": seconds}, format="json")
    assert (answer.status_code, list(answer.json())) == (400, ["overlap_seconds"])


def test_a_test_event_goes_to_a_webhook_that_did_not_ask_for_it(
    alice: APIClient, hook: str
) -> None:
    alice.patch(hook, {"events": ["stream_stale"]}, format="json")
    answer = alice.post(f"{hook}/test")
    assert answer.status_code == 202
    assert (answer.json()["event"], answer.json()["status"]) == ("test", "pending")


def test_deliveries_are_listed_and_filtered(alice: APIClient, hook: str) -> None:
    emit("stream_stale", {}, symbol="AAPL")
    emit("test", {}, symbol=None)
    WebhookDelivery.objects.filter(event="test").update(status="failed")

    def events(query: str) -> list[str]:
        return [row["event"] for row in alice.get(f"{hook}/deliveries{query}").json()["results"]]

    assert events("") == ["test", "stream_stale"]
    assert events("?status=failed") == ["test"]
    assert events("?event=stream_stale") == ["stream_stale"]
    assert events("?since=2099-01-01T00:00:00Z") == []
    assert alice.get(f"{hook}/deliveries?limit=1").json()["next"]
    assert alice.get(f"{hook}/deliveries?state=failed").json().keys() == {"state"}


def test_a_delivery_tells_what_was_sent_and_answered(alice: APIClient, hook: str) -> None:
    emit("test", {"number": 7}, symbol="AAPL")
    row = WebhookDelivery.objects.get()
    row.attempts.create(response_code=500, response_body="Oops", finished_at=timezone.now())
    body = alice.get(f"{hook}/deliveries/{row.pk}").json()
    assert body["webhook_id"] == row.webhook_id
    assert body["payload"]["data"] == {"number": 7}
    (attempt,) = body["attempts"]
    assert (attempt["response_code"], attempt["response_body"]) == (500, "Oops")


def test_an_owner_cannot_tell_what_there_is_inside(alice: APIClient, hook: str) -> None:
    emit("test", {}, symbol=None)
    row = WebhookDelivery.objects.get()
    reasons = [Problem.ADDRESS, Problem.NAME, Problem.CONNECT, Problem.TIMEOUT, Problem.ANSWER]
    now = timezone.now()
    for problem in reasons:
        row.attempts.create(problem=problem, started_at=now, finished_at=now)
    shown = alice.get(f"{hook}/deliveries/{row.pk}").json()["attempts"]
    assert len(shown) == 5
    assert all(attempt == shown[0] for attempt in shown)
    assert shown[0]["error"] == "There was no valid answer from this URL."


def test_one_delivery_is_resent_with_its_id(alice: APIClient, hook: str) -> None:
    emit("test", {}, symbol=None)
    WebhookDelivery.objects.update(status="delivered", tries=3)
    row = WebhookDelivery.objects.get()
    answer = alice.post(f"{hook}/deliveries/{row.pk}/resend")
    assert answer.status_code == 202
    assert (answer.json()["webhook_id"], answer.json()["status"]) == (row.webhook_id, "pending")


def test_all_that_failed_since_a_time_is_resent(alice: APIClient, hook: str) -> None:
    for _ in range(3):
        emit("test", {}, symbol=None)
    first, second, third = WebhookDelivery.objects.order_by("pk")
    WebhookDelivery.objects.exclude(pk=third.pk).update(status="failed")
    WebhookDelivery.objects.filter(pk=first.pk).update(
        created_at=timezone.now() - timedelta(hours=2)
    )
    since = (timezone.now() - timedelta(hours=1)).isoformat()
    answer = alice.post(f"{hook}/resend", {"since": since}, format="json")
    assert (answer.status_code, answer.json()) == (202, {"resent": 1})
    second.refresh_from_db()
    assert second.status == "pending"
    assert alice.post(f"{hook}/resend", {}, format="json").json().keys() == {"since"}


def test_to_a_disabled_webhook_nothing_is_sent(alice: APIClient, hook: str) -> None:
    emit("test", {}, symbol=None)
    alice.patch(hook, {"enabled": False}, format="json")
    row = WebhookDelivery.objects.get()
    for path in ("test", "resend", f"deliveries/{row.pk}/resend"):
        answer = alice.post(f"{hook}/{path}", {"since": "2026-01-01T00:00:00Z"}, format="json")
        assert answer.status_code == 403
        assert "Enable it first" in answer.json()["detail"]


def test_nobody_sees_or_changes_the_webhook_of_another(
    alice: APIClient, olga: APIClient, hook: str
) -> None:
    emit("test", {}, symbol=None)
    row = WebhookDelivery.objects.get()
    assert olga.get(HOOKS).json()["results"] == []
    answers = [
        olga.get(hook),
        olga.patch(hook, {"enabled": False}, format="json"),
        olga.delete(hook),
        olga.get(f"{hook}/deliveries"),
        olga.get(f"{hook}/deliveries/{row.pk}"),
        *(
            olga.post(f"{hook}/{path}", {"since": "2026-01-01T00:00:00Z"}, format="json")
            for path in ("rotate", "test", "resend", f"deliveries/{row.pk}/resend")
        ),
    ]
    assert {answer.status_code for answer in answers} == {404}
    mine = f"{HOOKS}/{create(olga).json()['id']}"
    assert olga.get(f"{mine}/deliveries/{row.pk}").status_code == 404


def test_an_id_that_no_database_has_is_not_found(alice: APIClient, hook: str) -> None:
    assert alice.get(f"{HOOKS}/{10**30}").status_code == 404
    assert alice.get(f"{hook}/deliveries/{10**30}").status_code == 404


def test_a_key_manages_no_webhooks(hook: str) -> None:
    client = APIClient()
    assert client.get(HOOKS).status_code == 401
    client.credentials(HTTP_X_API_KEY=personas.bob_key()[1])
    assert client.get(HOOKS).status_code == 403
    assert create(client).status_code == 403
