"""Destinations in the queue: what waits, what comes together, and who must agree first."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from realtime.models import Destination, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from realtime.webhooks import queue
from realtime.webhooks.destinations import (
    CONFIRMATIONS_PER_DAY,
    new_destination,
    queue_test,
    resume,
    stop,
    tell,
)
from realtime.webhooks.events import emit
from realtime.webhooks.links import confirm_link, stop_link
from realtime.webhooks.messages import SPELLED_OUT, Message
from realtime.webhooks.queue import claim, finish
from realtime.webhooks.results import AttemptResult
from tests import personas
from tests.webhooks.conftest import endpoint, event

pytestmark = pytest.mark.django_db
Problem = WebhookAttempt.Problem
OK, ERROR = AttemptResult(code=250), AttemptResult(problem=Problem.CONNECT)
OWN, FOREIGN = "alice@example.com", "somebody@example.net"
CHAT = "ntfys://ntfy.sh/alices-secret-topic"


@pytest.fixture(autouse=True)
def _mail_is_set_up(settings: type[django_settings]) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.REALTIME_PUBLIC_URL = "https://realtime.example.com"


@pytest.fixture
def alice() -> User:
    return personas.alice(email=OWN)


@pytest.fixture
def mailbox(alice: User) -> Destination:
    return new_destination(alice, OWN)


def alert(target: Destination, message: str = "AAPL: above 150", **data: Any) -> None:
    moment = "2026-11-30T12:00:00.000Z"
    data = {"message": message, "severity": "high", "timestamp": moment, **data}
    tell([target.pk], target.owner_id, data, "AAPL")


def next_message() -> Message:
    [job] = claim(10)
    finish(job, OK)
    assert isinstance(job.request, Message)
    return job.request


def time_passes(**parts: float) -> None:
    """Let it be later for everything that waits."""
    ago = timezone.now() - timedelta(**parts)
    WebhookEndpoint.every.filter(hold_until__isnull=False).update(hold_until=ago)
    WebhookDelivery.objects.update(next_attempt_at=ago)


def quiet_now(zone: str = "UTC", **changes: str) -> dict[str, str]:
    now = timezone.now()
    hours = {
        "start": f"{now - timedelta(hours=1):%H:%M}",
        "end": f"{now + timedelta(hours=1):%H:%M}",
    }
    return {**hours, "timezone": zone, **changes}


def test_an_alert_is_a_message_with_all_that_matters(mailbox: Destination) -> None:
    alert(mailbox, rule="Desk")
    message = next_message()
    assert (message.address, message.title) == (OWN, "[high] AAPL: above 150")
    assert "2026-11-30 12:00:00 UTC high AAPL: above 150 (rule: Desk)" in message.text


@pytest.mark.postgres
def test_a_burst_is_one_digest(mailbox: Destination) -> None:
    for number in range(60):
        alert(mailbox, f"alert {number}", symbol="AAPL")
    message = next_message()
    assert message.title == "60 alerts: AAPL"
    assert f"{60 - SPELLED_OUT} earlier alerts" in message.text
    assert "alert 59" in message.text
    assert not WebhookDelivery.objects.exclude(status="delivered").exists()


def test_after_a_message_the_next_alerts_are_collected(mailbox: Destination) -> None:
    alert(mailbox)
    next_message()
    for _ in range(3):
        alert(mailbox)
    assert claim(10) == []
    time_passes(seconds=1)
    assert next_message().title.startswith("3 alerts")


def test_quiet_hours_hold_alerts_and_the_morning_brings_them(mailbox: Destination) -> None:
    Destination.objects.update(quiet_hours=quiet_now())
    alert(mailbox)
    alert(mailbox)
    assert claim(10) == []
    mailbox.refresh_from_db()
    assert mailbox.hold_until is not None
    assert mailbox.hold_until > timezone.now()
    Destination.objects.update(quiet_hours=None)
    time_passes(seconds=1)
    assert next_message().title.startswith("2 alerts")


def test_quiet_hours_are_those_of_the_time_zone(mailbox: Destination) -> None:
    Destination.objects.update(quiet_hours=quiet_now("Asia/Tokyo"))
    alert(mailbox)
    next_message()


@pytest.mark.postgres
def test_a_test_disturbs_the_quiet(mailbox: Destination) -> None:
    Destination.objects.update(quiet_hours=quiet_now())
    alert(mailbox)
    claim(10)
    mailbox.refresh_from_db()
    queue_test(mailbox)
    assert next_message().title == "A test of your destination"
    assert claim(10) == []


def test_times_are_in_the_zone_of_the_quiet_hours(mailbox: Destination) -> None:
    Destination.objects.update(quiet_hours=quiet_now("Asia/Tokyo"))
    alert(mailbox)
    assert "21:00:00 JST" in next_message().text


@pytest.mark.postgres
def test_what_fails_is_tried_again_together(mailbox: Destination) -> None:
    for _ in range(2):
        alert(mailbox)
    [job] = claim(10)
    finish(job, ERROR)
    assert {row.tries for row in WebhookDelivery.objects.all()} == {1}
    time_passes(seconds=1)
    [again] = claim(10)
    assert again.delivery_ids == job.delivery_ids
    assert WebhookAttempt.objects.count() == 4


def test_a_digest_takes_one_place_of_its_owner(mailbox: Destination, alice: User) -> None:
    for _ in range(100):
        alert(mailbox)
    assert len(claim(10)) == 1
    event(endpoint(alice))
    assert len(claim(10)) == 1


def test_a_destination_that_fails_holds_up_no_other(mailbox: Destination, alice: User) -> None:
    other = new_destination(alice, CHAT)
    alert(mailbox)
    finish(*claim(10), ERROR)
    alert(other)
    assert next_message().address == CHAT


def test_events_of_webhooks_do_not_reach_destinations(mailbox: Destination) -> None:
    assert emit("alert_triggered", {"message": "x"}, symbol="AAPL") == []
    assert WebhookEndpoint.objects.count() == 0


@pytest.mark.parametrize("change", [{"enabled": False}, {"confirmed_at": None}])
def test_who_must_not_be_sent_to_gets_nothing(mailbox: Destination, change: Any) -> None:
    Destination.objects.update(**change)
    alert(mailbox)
    assert not WebhookDelivery.objects.exists()


def test_nobody_sends_to_the_destination_of_another_user(mailbox: Destination) -> None:
    tell([mailbox.pk], personas.olga().pk, {"message": "x"}, "AAPL")
    tell([mailbox.pk], None, {"message": "x"}, "AAPL")
    assert not WebhookDelivery.objects.exists()


def test_an_owner_hears_when_a_destination_was_disabled(
    mailbox: Destination, caplog: pytest.LogCaptureFixture
) -> None:
    alert(mailbox)
    Destination.objects.update(failing_since=timezone.now() - timedelta(days=6))
    WebhookDelivery.objects.update(created_at=timezone.now() - timedelta(days=1))
    finish(*claim(10), ERROR)
    mailbox.refresh_from_db()
    assert (mailbox.enabled, mailbox.disabled_reason) == (False, "failing")


# Who agrees -------------------------------------------------------------------------------------


def test_a_foreign_address_gets_one_mail_that_asks(alice: User) -> None:
    target = new_destination(alice, FOREIGN)
    assert not target.confirmed
    message = next_message()
    assert (message.address, message.title) == (FOREIGN, "Confirm that you want alerts")
    assert "https://realtime.example.com/destinations/confirm?token=" in message.text
    alert(target)
    assert claim(10) == []


def test_the_link_confirms_after_a_click_and_not_by_being_opened(
    alice: User, client: Client
) -> None:
    target = new_destination(alice, FOREIGN)
    path = confirm_link(target.pk)[0].removeprefix("https://realtime.example.com")
    assert FOREIGN in client.get(path).content.decode()
    target.refresh_from_db()
    assert not target.confirmed
    assert client.post(path).status_code == 200
    target.refresh_from_db()
    assert target.confirmed


@pytest.mark.parametrize("name", ["confirm", "stop"])
def test_no_link_works_for_another_purpose_or_when_it_is_forged(
    mailbox: Destination, client: Client, name: str
) -> None:
    other = (stop_link if name == "confirm" else confirm_link)(mailbox.pk)[0].partition("=")[2]
    for token in ("", "x", other):
        assert client.post(f"/destinations/{name}?token={token}").status_code == 404
    mailbox.refresh_from_db()
    assert (mailbox.enabled, mailbox.confirmed) == (True, True)


def test_a_link_that_confirms_expires(
    alice: User, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = new_destination(alice, FOREIGN)
    link = confirm_link(target.pk)[0].removeprefix("https://realtime.example.com")
    later = datetime.now(UTC).timestamp() + 4 * 86400
    monkeypatch.setattr("django.core.signing.time.time", lambda: later)
    assert client.post(link).status_code == 404


@pytest.mark.postgres
def test_one_click_stops_mails_without_a_login(mailbox: Destination) -> None:
    alert(mailbox)
    path = next_message().stop.removeprefix("https://realtime.example.com")
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
    mailbox.refresh_from_db()
    assert (mailbox.enabled, mailbox.disabled_reason) == (False, "stopped")


def test_what_its_recipient_has_stopped_is_confirmed_once_more(alice: User) -> None:
    target = new_destination(alice, FOREIGN)
    WebhookDelivery.objects.all().delete()
    stop(target)
    target.refresh_from_db()
    resume(target)
    assert next_message().title == "Confirm that you want alerts"


def test_nobody_is_flooded_with_questions(alice: User) -> None:
    address = "flooded@example.net"
    for number in range(CONFIRMATIONS_PER_DAY + 2):
        owner = personas._user(f"user{number}")
        new_destination(owner, address.upper() if number % 2 else address)
    assert WebhookDelivery.objects.count() == CONFIRMATIONS_PER_DAY


def test_staff_confirms_nothing() -> None:
    assert new_destination(personas.olga(), FOREIGN).confirmed


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "1 to 500"),
        ("nonsense", "neither an e-mail address"),
        ("a@b.example\r\nBcc: x@example.com", "printable"),
        ("x" * 501, "1 to 500"),
        ("mailto://user:password@example.com", "must begin with one of"),
        ("json://example.com/", "must begin with one of"),
        ("ntfys://10.0.0.1/topic", "public address"),
        ("ntfys://localhost/topic", "public address"),
        ("ntfy://example.com/topic", "ntfys://"),
        ("ntfys://ntfy.sh/topic?attach=/etc/passwd", "'attach' is not allowed"),
        ("discord://123456789012345678/" + "a" * 68 + "#?template=/etc/passwd", "'template'"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_is_refused_by_name(
    alice: User, settings: type[django_settings], address: str, said: str
) -> None:
    settings.DEBUG = False
    with pytest.raises(ValidationError) as caught:
        new_destination(alice, address)
    assert said in caught.value.message_dict["address"][0]
    assert not Destination.objects.exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("EMAIL_BACKEND", "django.core.mail.backends.dummy.EmailBackend", "EMAIL_URL"),
        ("REALTIME_PUBLIC_URL", "", "REALTIME_PUBLIC_URL"),
    ],
)
def test_a_server_without_mail_says_what_is_missing(
    alice: User, settings: type[django_settings], name: str, value: str, said: str
) -> None:
    setattr(settings, name, value)
    with pytest.raises(ValidationError, match=said):
        new_destination(alice, OWN)


def test_a_chat_that_the_operator_left_out_is_refused(
    alice: User, settings: type[django_settings]
) -> None:
    settings.REALTIME_CHAT_SERVICES = ["slack"]
    with pytest.raises(ValidationError, match="one of slack://"):
        new_destination(alice, CHAT)


@pytest.mark.parametrize(
    "hours",
    [
        {"start": "22:00"},
        {"start": "22:00", "end": "25:00"},
        {"start": "22:00", "end": "22:00"},
        {"start": "22:00", "end": "07:00", "timezone": "Mars"},
        {"start": "22:00", "end": "07:00", "zone": "UTC"},
        "night",
    ],
)
def test_quiet_hours_that_cannot_be_are_refused(alice: User, hours: object) -> None:
    with pytest.raises(ValidationError, match="Quiet hours"):
        new_destination(alice, CHAT, quiet_hours=hours)


def test_secrets_are_kept_encrypted_and_shown_nowhere(alice: User) -> None:
    target = new_destination(alice, CHAT)
    assert target.address == CHAT
    shown = f"{target} {target.url} {target.sealed_secret}"
    assert "topic" not in shown


def test_what_cannot_be_opened_any_more_is_a_problem_and_no_crash(
    alice: User, settings: type[django_settings]
) -> None:
    target = new_destination(alice, CHAT)
    alert(target)
    settings.SECRET_KEY = "another one " * 5
    [job] = claim(10)
    assert isinstance(job.request, Message)
    assert job.request.address == ""


def test_an_event_that_cannot_be_read_holds_up_no_other(mailbox: Destination) -> None:
    for body in ("not JSON", "[]", '{"type": "x", "data": 7}', "[" * 100_000):
        alert(mailbox)
        WebhookDelivery.objects.filter(pk=WebhookDelivery.objects.latest("pk").pk).update(body=body)
    alert(mailbox, timestamp="9999-12-31T23:59:59-14:00")
    message = next_message()
    assert message.title.startswith("5 alerts")
    assert "AAPL: above 150" in message.text


def test_one_claim_is_bounded(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_CLAIMED_AT_ONCE", 3)
    for _ in range(3):
        target = new_destination(alice, CHAT)
        alert(target)
        alert(target)
    assert [len(job.deliveries) for job in claim(10)] == [2, 2]
    assert len(claim(10)) == 1


def test_links_work_where_a_project_asks_everybody_to_log_in(
    mailbox: Destination, client: Client, settings: type[django_settings]
) -> None:
    strict = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, strict]
    path = stop_link(mailbox.pk)[0].removeprefix("https://realtime.example.com")
    assert client.get(path).status_code == 200


def test_a_missing_extra_is_named_when_a_chat_is_added(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "realtime.webhooks.chat", raising=False)
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ValidationError, match=r"needs apprise: pip install"):
        new_destination(alice, CHAT)


@pytest.mark.parametrize("hours", [{"start": 7}, {"start": "x", "end": "y"}, 7, []])
def test_quiet_hours_that_cannot_be_read_hold_up_nothing(
    mailbox: Destination, hours: object
) -> None:
    Destination.objects.update(quiet_hours=hours)
    alert(mailbox)
    assert next_message().address == OWN
