import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from realtime.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from tests import personas
from tests.webhooks.conftest import URL, endpoint, event

pytestmark = pytest.mark.django_db
HOOKS = "/admin/realtime/webhookendpoint/"
DELIVERIES = "/admin/realtime/webhookdelivery/"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")


@pytest.fixture
def olga(client: Client) -> Client:
    """A browser in which Olga is logged in."""
    client.force_login(personas.olga())
    return client


def form(owner: User, **fields: Any) -> dict[str, Any]:
    given = {"owner": owner.pk, "url": URL, "enabled": "on", "event_names": ["test"], **fields}
    return {name: value for name, value in given.items() if value is not None}


def text(answer: Any) -> str:
    content: str = answer.content.decode()
    return content


def shown_secret(answer: Any) -> str:
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    found = SECRET.search(text(answer).replace("&#x2B;", "+"))
    assert found is not None
    return found[0]


def test_the_secret_of_a_new_webhook_is_shown_on_the_page_after_saving(
    olga: Client, alice: User
) -> None:
    answer = olga.post(HOOKS + "add/", form(alice, patterns="btc*, AAPL"))
    secret = shown_secret(answer)
    hook = WebhookEndpoint.objects.get()
    assert hook.secrets(timezone.now()) == [secret]
    assert (hook.owner, hook.events, hook.symbols) == (alice, ["test"], ["BTC*", "AAPL"])


def test_the_secret_is_shown_nowhere_else(olga: Client, alice: User) -> None:
    secret = shown_secret(olga.post(HOOKS + "add/", form(alice)))
    hook = WebhookEndpoint.objects.get()
    places = [
        *(str(row) for row in LogEntry.objects.values()),
        *(str(session.get_decoded()) for session in Session.objects.all()),
        *(text(olga.get(f"{HOOKS}{page}")) for page in ("", f"{hook.pk}/change/")),
    ]
    assert all(secret not in place and hook.sealed_secret not in place for place in places)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "https://10.0.0.1/"}, "must lead to a public address"),
        ({"url": "http://example.com/"}, "must begin with https"),
        ({"event_names": []}, "This field is required"),
        ({"patterns": "A?PL"}, "is not a symbol pattern"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_at_its_field(
    olga: Client, alice: User, fields: dict[str, Any], message: str
) -> None:
    assert message in text(olga.post(HOOKS + "add/", form(alice, **fields)))
    assert not WebhookEndpoint.objects.exists()


def test_a_webhook_is_changed_and_keeps_its_secret(olga: Client, alice: User) -> None:
    hook = endpoint(alice, symbols=["AAPL"])
    page = text(olga.get(f"{HOOKS}{hook.pk}/change/"))
    assert 'value="AAPL"' in page
    answer = olga.post(f"{HOOKS}{hook.pk}/change/", form(alice, patterns="", description="Desk"))
    assert answer.status_code == 302
    changed = WebhookEndpoint.objects.get()
    assert (changed.symbols, changed.description) == ([], "Desk")
    assert changed.sealed_secret == hook.sealed_secret


def test_a_webhook_is_disabled_and_enabled_with_all_that_follows(olga: Client, alice: User) -> None:
    hook = endpoint(alice)
    event(hook)
    olga.post(f"{HOOKS}{hook.pk}/change/", form(alice, enabled=None))
    hook.refresh_from_db()
    assert (hook.enabled, hook.disabled_reason) == (False, "owner")
    assert WebhookDelivery.objects.get().status == "failed"
    assert "disabled: by its owner" in text(olga.get(HOOKS))
    olga.post(f"{HOOKS}{hook.pk}/change/", form(alice))
    hook.refresh_from_db()
    assert (hook.enabled, hook.disabled_reason) == (True, "")


def test_several_webhooks_are_disabled_and_enabled(olga: Client, alice: User) -> None:
    hooks = [endpoint(alice), endpoint(alice)]
    WebhookEndpoint.objects.update(failing_since=timezone.now())
    for action, enabled in (("disable_selected", False), ("enable_selected", True)):
        olga.post(HOOKS, {"action": action, "_selected_action": [hook.pk for hook in hooks]})
        assert WebhookEndpoint.objects.filter(enabled=enabled).count() == 2
    assert not WebhookEndpoint.objects.filter(failing_since__isnull=False).exists()


def test_a_rotated_secret_is_shown_and_the_old_one_signs_for_a_day(
    olga: Client, alice: User
) -> None:
    hook = endpoint(alice)
    (old,) = hook.secrets(timezone.now())
    assert "new secret" in text(olga.get(f"{HOOKS}{hook.pk}/rotate/"))
    new = shown_secret(olga.post(f"{HOOKS}{hook.pk}/rotate/", {"overlap": "86400"}))
    hook.refresh_from_db()
    assert hook.secrets(timezone.now()) == [new, old]
    assert hook.secrets(timezone.now() + timedelta(days=1, seconds=1)) == [new]


def test_a_test_event_leads_to_the_page_that_awaits_its_result(olga: Client, alice: User) -> None:
    hook = endpoint(alice, events=["stream_stale"])
    page = f"{HOOKS}{hook.pk}/test/"
    assert "Send test event" in text(olga.get(page))
    answer = olga.post(page)
    row = WebhookDelivery.objects.get()
    assert answer["Location"] == f"{page}?delivery={row.pk}"
    assert row.event == "test"
    assert 'data-state="waiting"' in text(olga.get(answer["Location"]))


def outcome_page(olga: Client, hook: WebhookEndpoint, **attempt: Any) -> str:
    """The page of a test with this attempt."""
    row = event(hook, created_at=timezone.now() - timedelta(minutes=1))
    if attempt:
        WebhookAttempt.objects.create(delivery=row, **attempt)
    return text(olga.get(f"{HOOKS}{hook.pk}/test/?delivery={row.pk}"))


def test_the_result_of_a_test_has_code_duration_and_answer(olga: Client, alice: User) -> None:
    began = timezone.now()
    ended = began + timedelta(milliseconds=340)
    page = outcome_page(
        olga, endpoint(alice), started_at=began, finished_at=ended, response_code=404,
        response_body="<b>no such hook</b>",
    )  # fmt: skip
    assert 'data-state="done"' in page
    assert "The receiver answered 404" in page
    assert "340 ms" in page
    assert "&lt;b&gt;no such hook&lt;/b&gt;" in page


def test_a_test_without_an_answer_says_why(olga: Client, alice: User) -> None:
    page = outcome_page(olga, endpoint(alice), finished_at=timezone.now(), problem="timeout")
    assert "There was no answer" in page
    assert "no answer in time" in page


def test_a_test_that_no_worker_takes_names_the_command(olga: Client, alice: User) -> None:
    assert "manage.py run_background" in outcome_page(olga, endpoint(alice))


@pytest.mark.parametrize("number", ["0", "x", "9" * 30])
def test_a_test_of_another_webhook_is_not_shown(olga: Client, alice: User, number: str) -> None:
    hook = endpoint(alice)
    other = event(endpoint(alice, url=f"{URL}/other"))
    for wanted in (number, str(other.pk)):
        assert olga.get(f"{HOOKS}{hook.pk}/test/?delivery={wanted}").status_code == 404


def test_a_test_event_to_a_disabled_webhook_says_so(olga: Client, alice: User) -> None:
    hook = endpoint(alice, enabled=False)
    answer = olga.post(f"{HOOKS}{hook.pk}/test/", follow=True)
    assert "Nothing was sent" in text(answer)


def test_operators_see_why_there_was_no_answer(olga: Client, alice: User) -> None:
    row = event(endpoint(alice))
    row.attempts.create(problem=WebhookAttempt.Problem.ADDRESS)
    row.attempts.create(response_code=500, response_body="<b>Oops</b>")
    page = text(olga.get(f"{DELIVERIES}{row.pk}/change/"))
    assert "address not allowed" in page
    assert "&lt;b&gt;Oops&lt;/b&gt;" in page
    assert row.webhook_id in page
    assert 'name="_save"' not in page


def test_deliveries_are_filtered_by_webhook_status_and_event(olga: Client, alice: User) -> None:
    one, other = endpoint(alice), endpoint(alice)
    event(one, symbol="ONE", status="failed")
    event(other, symbol="TWO")
    for query, found in (
        (f"?endpoint__id__exact={one.pk}", True),
        ("?status__exact=failed", True),
        ("?event__exact=stream_stale", False),
    ):
        page = text(olga.get(DELIVERIES + query))
        assert (">ONE<" in page, ">TWO<" in page) == (found, False), query


def test_deliveries_are_resent(olga: Client, alice: User) -> None:
    hook = endpoint(alice)
    failed, pending = event(hook, status="failed"), event(hook)
    chosen = {"action": "resend_selected", "_selected_action": [failed.pk, pending.pk]}
    page = text(olga.post(DELIVERIES, chosen, follow=True))
    assert "Will be sent again: 1" in page
    assert "1 left as they are" in page
    failed.refresh_from_db()
    assert failed.status == "pending"


def test_who_may_only_look_neither_changes_nor_tests_nor_resends(
    client: Client, alice: User
) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_webhook"))
    client.force_login(viewer)
    hook = endpoint(alice, symbols=["AAPL"])
    row = event(hook, status="failed")
    assert "AAPL" in text(client.get(f"{HOOKS}{hook.pk}/change/"))
    assert client.get(f"{DELIVERIES}{row.pk}/change/").status_code == 200
    for page in ("rotate", "test"):
        assert client.post(f"{HOOKS}{hook.pk}/{page}/").status_code == 403
    client.post(DELIVERIES, {"action": "resend_selected", "_selected_action": [row.pk]})
    row.refresh_from_db()
    assert row.status == "failed"
