"""What workers do with the delivery rows; time is what the rows say."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core import mail
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from realtime.conf import conf
from realtime.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from realtime.webhooks import owners, queue
from realtime.webhooks.queue import Job, claim, disable, enable, finish, lease, prune, resend
from realtime.webhooks.sender import AttemptResult
from tests import personas
from tests.webhooks.conftest import endpoint, event

pytestmark = pytest.mark.django_db
Problem = WebhookAttempt.Problem
Reason = WebhookEndpoint.Reason
OK, ERROR, SILENCE = (
    AttemptResult(code=200),
    AttemptResult(code=500),
    AttemptResult(problem=Problem.TIMEOUT),
)


@pytest.fixture
def hook(alice: User) -> WebhookEndpoint:
    return endpoint(alice)


def ago(**parts: float) -> Any:
    return timezone.now() - timedelta(**parts)


def one_job() -> Job:
    (job,) = claim(10)
    return job


def due_now(row: WebhookDelivery) -> None:
    """Let the time pass until this is due."""
    WebhookDelivery.objects.filter(pk=row.pk).update(next_attempt_at=timezone.now())


def again(row: WebhookDelivery, outcome: AttemptResult) -> None:
    due_now(row)
    finish(one_job(), outcome)
    row.refresh_from_db()


def test_a_job_is_what_was_written(hook: WebhookEndpoint) -> None:
    row = event(hook)
    request = one_job().request
    assert (request.url, request.webhook_id) == (hook.url, row.webhook_id)
    assert request.body == row.body.encode()
    assert request.secrets == hook.secrets(timezone.now())


def test_what_one_worker_has_no_other_gets(hook: WebhookEndpoint) -> None:
    rows = [event(hook) for _ in range(3)]
    jobs = [*claim(2), *claim(2)]
    assert [job.delivery_ids for job in jobs] == [[row.pk] for row in rows]
    assert claim(2) == []


def test_what_is_not_due_waits(hook: WebhookEndpoint) -> None:
    event(hook, next_attempt_at=timezone.now() + timedelta(minutes=1))
    assert claim(10) == []


def test_the_work_of_a_dead_worker_is_due_when_its_lease_has_ended(hook: WebhookEndpoint) -> None:
    row = event(hook)
    dead = one_job()
    row.refresh_from_db()
    assert row.next_attempt_at > timezone.now() + lease() - timedelta(seconds=5)
    due_now(row)
    alive = one_job()
    assert (alive.delivery_ids, alive.deliveries[0].tries) == (dead.delivery_ids, 2)
    assert alive.request.webhook_id == dead.request.webhook_id


def test_who_lost_its_lease_changes_nothing_by_a_failure(hook: WebhookEndpoint) -> None:
    row = event(hook)
    slow = one_job()
    due_now(row)
    fast = one_job()
    finish(slow, ERROR)
    row.refresh_from_db()
    assert (row.claim, row.tries) == (fast.claim, 2)
    assert row.attempts.filter(response_code=500).count() == 1


def test_who_lost_its_lease_has_still_delivered(hook: WebhookEndpoint) -> None:
    row = event(hook)
    slow = one_job()
    due_now(row)
    fast = one_job()
    finish(slow, OK)
    finish(fast, SILENCE)
    row.refresh_from_db()
    assert (row.status, row.response_code) == ("delivered", 200)


def test_no_endpoint_gets_more_than_a_few_at_a_time(
    alice: User, settings: type[django_settings]
) -> None:
    settings.REALTIME_WEBHOOK_CONCURRENCY = 2
    busy, calm = endpoint(alice), endpoint(alice)
    for _ in range(5):
        event(busy)
    event(calm)
    assert sorted(job.endpoint_id for job in claim(100)) == [busy.pk, busy.pk, calm.pk]
    assert claim(100) == []


def test_one_owner_never_has_all_places(alice: User) -> None:
    for _ in range(20):
        hook = endpoint(alice)
        for _ in range(5):
            event(hook)
    taken = len(claim(100))
    assert taken == 50
    assert claim(100 - taken) == []
    late = event(endpoint(personas.olga()))
    assert [job.delivery_ids for job in claim(100 - taken)] == [[late.pk]]


def test_owners_who_have_their_share_hide_no_other(alice: User) -> None:
    for _ in range(30):
        event(endpoint(alice))
    while claim(10):
        pass
    late = event(endpoint(personas.olga()))
    assert [job.delivery_ids for job in claim(1)] == [[late.pk]]


def test_a_place_is_free_when_an_attempt_has_ended(
    hook: WebhookEndpoint, settings: type[django_settings]
) -> None:
    settings.REALTIME_WEBHOOK_CONCURRENCY = 1
    for _ in range(2):
        event(hook)
    job = one_job()
    assert claim(10) == []
    finish(job, OK)
    assert one_job().delivery_ids != job.delivery_ids


def test_an_endpoint_that_fails_is_asked_one_thing_at_a_time(hook: WebhookEndpoint) -> None:
    for _ in range(3):
        event(hook)
    WebhookEndpoint.objects.update(failing_since=ago(minutes=1))
    assert len(claim(10)) == 1


def test_a_success_is_the_end_of_it(hook: WebhookEndpoint) -> None:
    row = event(hook)
    WebhookEndpoint.objects.update(failing_since=ago(days=4))
    finish(one_job(), AttemptResult(code=204, body="thanks"))
    row.refresh_from_db()
    hook.refresh_from_db()
    assert (row.status, row.response_code, row.claim) == ("delivered", 204, "")
    assert hook.failing_since is None
    (attempt,) = row.attempts.all()
    assert (attempt.response_code, attempt.response_body) == (204, "thanks")


def test_a_failure_is_tried_again_ten_times_and_given_up(hook: WebhookEndpoint) -> None:
    row = event(hook)
    delays = conf.REALTIME_WEBHOOK_RETRY_DELAYS
    for tries, delay in enumerate(delays, start=1):
        again(row, ERROR if tries % 2 else SILENCE)
        assert (row.status, row.tries) == ("pending", tries)
        wait = (row.next_attempt_at - timezone.now()).total_seconds()
        assert delay - 5 < wait < delay * 1.1 + 5
    again(row, ERROR)
    assert (row.status, row.response_code) == ("failed", 500)
    assert row.attempts.count() == len(delays) + 1 == 10
    assert claim(10) == []


def test_a_receiver_is_left_alone_for_as_long_as_it_asks(hook: WebhookEndpoint) -> None:
    row = event(hook)
    again(row, AttemptResult(code=429, retry_after=timedelta(hours=3)))
    assert row.next_attempt_at > timezone.now() + timedelta(hours=2.9)


def test_an_interrupted_attempt_is_none(hook: WebhookEndpoint) -> None:
    row = event(hook)
    finish(one_job(), AttemptResult(problem=Problem.INTERRUPTED))
    row.refresh_from_db()
    hook.refresh_from_db()
    assert (row.tries, row.claim, hook.failing_since) == (0, "", None)
    assert one_job().deliveries[0].tries == 1


def test_410_disables_and_tells_the_owner(
    hook: WebhookEndpoint,
    told: list[Any],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    row = event(hook)
    event(hook, next_attempt_at=timezone.now() + timedelta(hours=1))
    with django_capture_on_commit_callbacks(execute=True):
        again(row, AttemptResult(code=410))
    hook.refresh_from_db()
    assert (hook.enabled, hook.disabled_reason) == (False, "gone")
    assert [row.status for row in hook.deliveries.all()] == ["failed", "failed"]
    ((data, user),) = told
    assert user == hook.owner_id
    assert hook.url in data["message"]
    assert data["severity"] == "high"


def test_five_days_of_failure_disable_and_tell_the_owner(
    hook: WebhookEndpoint,
    told: list[Any],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    old = event(hook, created_at=ago(days=1))
    WebhookEndpoint.objects.update(failing_since=ago(days=4.9))
    again(old, ERROR)
    assert WebhookEndpoint.objects.filter(enabled=True).exists()
    WebhookEndpoint.objects.update(failing_since=ago(days=5))
    with django_capture_on_commit_callbacks(execute=True):
        again(old, ERROR)
    hook.refresh_from_db()
    assert (hook.enabled, hook.disabled_reason) == (False, "failing")
    assert [user for _, user in told] == [hook.owner_id]


def test_a_short_outage_after_quiet_weeks_disables_nothing(hook: WebhookEndpoint) -> None:
    WebhookEndpoint.objects.update(failing_since=ago(days=20))
    again(event(hook), ERROR)
    assert WebhookEndpoint.objects.filter(enabled=True).exists()


def test_the_owner_gets_an_email_where_mail_is_set_up(
    hook: WebhookEndpoint,
    told: list[Any],
    settings: type[django_settings],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    User.objects.update(email="alice@example.com")
    for backend in ("dummy", "locmem"):
        settings.EMAIL_BACKEND = f"django.core.mail.backends.{backend}.EmailBackend"
        hook = WebhookEndpoint.objects.get()
        enable(hook)
        with django_capture_on_commit_callbacks(execute=True):
            disable(hook, Reason.GONE)
    (message,) = mail.outbox
    assert message.to == ["alice@example.com"]
    assert hook.url in message.body


def test_who_disables_an_endpoint_is_not_told_so(
    hook: WebhookEndpoint,
    told: list[Any],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert disable(hook, Reason.OWNER)
        assert not disable(hook, Reason.GONE)
    assert told == []


def test_what_was_under_way_when_its_endpoint_was_disabled_may_succeed(
    hook: WebhookEndpoint,
) -> None:
    row = event(hook)
    job = one_job()
    disable(hook, Reason.OWNER)
    finish(job, OK)
    row.refresh_from_db()
    assert row.status == "delivered"


def test_what_was_under_way_when_its_endpoint_was_disabled_does_not_come_back(
    hook: WebhookEndpoint,
) -> None:
    row = event(hook)
    job = one_job()
    disable(hook, Reason.OWNER)
    finish(job, ERROR)
    enable(hook)
    due_now(row)
    assert claim(10) == []


@pytest.mark.parametrize("outcome", [OK, ERROR, AttemptResult(code=410)])
def test_an_endpoint_may_be_deleted_meanwhile(
    hook: WebhookEndpoint, outcome: AttemptResult
) -> None:
    event(hook)
    job = one_job()
    hook.delete()
    finish(job, outcome)
    assert not WebhookAttempt.objects.exists()


def test_nothing_is_sent_for_somebody_who_was_deactivated(hook: WebhookEndpoint) -> None:
    event(hook)
    User.objects.update(is_active=False)
    assert claim(10) == []


def test_one_that_was_given_up_is_sent_again_with_its_id(hook: WebhookEndpoint) -> None:
    row = event(hook, status="failed", tries=10)
    assert resend(WebhookDelivery.objects.filter(pk=row.pk)) == 1
    job = one_job()
    assert (job.request.webhook_id, job.deliveries[0].tries) == (row.webhook_id, 1)


def test_what_is_pending_or_of_a_disabled_endpoint_is_not_resent(
    alice: User, hook: WebhookEndpoint
) -> None:
    event(hook, tries=3)
    off = endpoint(alice)
    event(off)
    disable(off, Reason.OWNER)
    assert resend(WebhookDelivery.objects.all()) == 0


def test_the_log_is_kept_for_a_while(hook: WebhookEndpoint) -> None:
    days = conf.REALTIME_WEBHOOK_LOG_DAYS
    event(hook, created_at=ago(days=days + 1), status="delivered")
    kept = [event(hook, created_at=ago(days=days + 1)), event(hook, status="failed")]
    prune()
    assert sorted(WebhookDelivery.objects.values_list("pk", flat=True)) == [row.pk for row in kept]


def test_a_secret_that_cannot_be_read_is_a_problem_and_no_crash(
    hook: WebhookEndpoint, settings: type[django_settings]
) -> None:
    event(hook)
    settings.SECRET_KEY = "another one " * 5
    assert one_job().request.secrets == []


def test_looking_for_work_costs_one_query_while_there_is_none(
    hook: WebhookEndpoint, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        assert claim(10) == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the plan of PostgreSQL for few rows")
def test_a_long_backlog_is_not_read_to_find_what_is_due(hook: WebhookEndpoint) -> None:
    now = timezone.now()
    due = queue._due(now).filter(endpoint=hook).order_by("next_attempt_at", "pk")
    assert "INDEX pending_deliveries (endpoint_id=? AND next_attempt_at<?)" in due.explain()
    assert "pending_deliveries" in queue._with_something_due(now).explain()
    assert "INDEX claimed_deliveries" in queue._in_flight(now).explain()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What owners were sent as alerts: data and user."""
    sent: list[Any] = []
    monkeypatch.setattr(owners, "send_alert", lambda data, user: sent.append((data, user)))
    return sent


def test_another_user_s_endpoint_fails_for_itself(hook: WebhookEndpoint) -> None:
    other = endpoint(personas.olga())
    again(event(other), ERROR)
    hook.refresh_from_db()
    assert hook.failing_since is None
