"""The delivery rows as a queue that any number of workers share.

A worker *claims* a delivery before it sends it: in one transaction it takes what is due, and puts
the time when it is due again behind its lease. Another worker finds nothing due; if the first one
dies, the lease ends and the delivery is due again by itself. What a worker does after that is kept
in the log, and does not change the delivery unless it was a success.

On PostgreSQL an endpoint is locked while a worker claims from it, and others skip it. On SQLite
there is one writer at a time. In both, the UPDATE that claims repeats the conditions.
"""

import logging
import random
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from realtime.aside import is_outage, set_aside
from realtime.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from realtime.values import days_before
from realtime.webhook_secrets import SecretUnreadable
from realtime.webhooks import schedule
from realtime.webhooks.owners import tell_owner
from realtime.webhooks.sender import AttemptResult, WebhookRequest

logger = logging.getLogger(__name__)

Status = WebhookDelivery.Status
Reason = WebhookEndpoint.Reason
Problem = WebhookAttempt.Problem

# Rows that one DELETE of the old ones takes: the database is others' too.
_PRUNED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt that a worker may make, before `send_before`."""

    delivery_id: int
    endpoint_id: int
    attempt_id: int
    claim: str
    tries: int
    created_at: datetime
    send_before: datetime
    request: WebhookRequest


def lease() -> timedelta:
    """How long a claim lasts: an attempt, and as much again for a busy machine."""
    return timedelta(seconds=3 * settings.REALTIME_WEBHOOK_TIMEOUT)


def claim(limit: int) -> list[Job]:
    """Take at most `limit` deliveries that are due, a few of each endpoint, the oldest first."""
    now = timezone.now()
    if not limit or not _with_something_due(now).exists():
        return []
    # Else those whose owners get nothing more might be all that is looked at.
    waiting = _with_something_due(now).exclude(owner_id__in=_Held(now).owners_without_room(limit))
    try:
        return _claim(waiting, limit, now)
    except Exception as exc:
        if is_outage(exc):
            raise
    # One row of an endpoint is to cost the others nothing.
    jobs: list[Job] = []
    for pk in waiting.order_by("?").values_list("pk", flat=True)[:limit]:
        with set_aside(f"webhook endpoint {pk}"):
            jobs += _claim(waiting.filter(pk=pk), limit - len(jobs), now)
    return jobs


class _Held:
    """How many attempts are under way, by endpoint and by owner, over all workers.

    An owner may hold as many places as it leaves free: the first one gets half of them, the next
    one a third, and slow receivers of one user do not hold up those of others. A few places are
    anybody's, however full it is.
    """

    def __init__(self, now: datetime) -> None:
        rows = list(_in_flight(now).values_list("endpoint_id", "endpoint__owner_id"))
        self.by_endpoint = Counter(endpoint for endpoint, _ in rows)
        self.by_owner = Counter(owner for _, owner in rows)

    def owners_without_room(self, free: int) -> list[Any]:
        return [owner for owner in self.by_owner if not self._share(owner, free)]

    def room(self, endpoint: WebhookEndpoint, free: int) -> int:
        """How many more of an endpoint may be under way, where so many places are free."""
        # One that fails is asked one thing at a time, which leaves places for the others.
        most = 1 if endpoint.failing_since else settings.REALTIME_WEBHOOK_CONCURRENCY
        share = self._share(endpoint.owner_id, free)
        return max(0, min(most - self.by_endpoint[endpoint.pk], free, share))

    def _share(self, owner: Any, free: int) -> int:
        held = self.by_owner[owner]
        few: int = settings.REALTIME_WEBHOOK_CONCURRENCY - held
        return max(0, few, (free - held + 1) // 2)

    def take(self, endpoint: WebhookEndpoint, count: int) -> None:
        self.by_endpoint[endpoint.pk] += count
        self.by_owner[endpoint.owner_id] += count


def _claim(some: QuerySet[WebhookEndpoint], limit: int, now: datetime) -> list[Job]:
    with transaction.atomic():
        endpoints = {endpoint.pk: endpoint for endpoint in _lock(some, limit)}
        chosen = _choose(endpoints.values(), limit, now)
        return _take(chosen, endpoints, now)


def _due(now: datetime) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(status=Status.PENDING, next_attempt_at__lte=now)


def _in_flight(now: datetime) -> QuerySet[WebhookDelivery]:
    held = WebhookDelivery.objects.filter(claim__gt="", next_attempt_at__gt=now)
    return held.filter(status=Status.PENDING).order_by()


def _with_something_due(now: datetime) -> QuerySet[WebhookEndpoint]:
    # A look into the index for each endpoint: the backlog of a dead one may be long.
    due = _due(now).filter(endpoint=OuterRef("pk"))
    # What it wants to hear of was asked when the delivery was written.
    endpoints = WebhookEndpoint.objects.defer("events", "symbols")
    return endpoints.filter(Exists(due), enabled=True, owner__is_active=True)


def _lock(endpoints: QuerySet[WebhookEndpoint], limit: int) -> list[WebhookEndpoint]:
    if connection.features.has_select_for_update_skip_locked:
        # NO KEY: `emit` may go on writing rows that refer to the endpoint.
        endpoints = endpoints.select_for_update(of=("self",), skip_locked=True, no_key=True)
    # In random order: every endpoint has its turn where there are more of them than free places.
    return list(endpoints.order_by("?")[:limit])


def _choose(endpoints: Iterable[WebhookEndpoint], limit: int, now: datetime) -> list[int]:
    held = _Held(now)  # as it is now that the endpoints are locked
    chosen: list[int] = []
    for endpoint in endpoints:
        if room := held.room(endpoint, limit - len(chosen)):
            due = _due(now).filter(endpoint=endpoint).order_by("next_attempt_at", "pk")
            found = due.values_list("pk", flat=True)[:room]
            held.take(endpoint, len(found))
            chosen += found
    return chosen


def _take(chosen: list[int], endpoints: dict[int, WebhookEndpoint], now: datetime) -> list[Job]:
    name = uuid.uuid4().hex
    _due(now).filter(pk__in=chosen).update(
        claim=name, next_attempt_at=now + lease(), tries=F("tries") + 1
    )
    taken = list(WebhookDelivery.objects.filter(pk__in=chosen, claim=name).order_by("pk"))
    attempts = WebhookAttempt.objects.bulk_create(
        WebhookAttempt(delivery=delivery, started_at=now) for delivery in taken
    )
    return [
        _job(delivery, endpoints[delivery.endpoint_id], attempt)
        for delivery, attempt in zip(taken, attempts, strict=True)
    ]


def _job(delivery: WebhookDelivery, endpoint: WebhookEndpoint, attempt: WebhookAttempt) -> Job:
    try:
        secrets = endpoint.secrets(attempt.started_at)
    except SecretUnreadable as exc:
        logger.error("webhook endpoint %d: %s", endpoint.pk, exc)
        secrets = []
    return Job(
        delivery_id=delivery.pk,
        endpoint_id=endpoint.pk,
        attempt_id=attempt.pk,
        claim=delivery.claim,
        tries=delivery.tries,
        created_at=delivery.created_at,
        # A worker that was suspended for longer must not begin: another one may have.
        send_before=attempt.started_at + lease() / 3,
        request=WebhookRequest(endpoint.url, delivery.webhook_id, delivery.body.encode(), secrets),
    )


def finish(job: Job, outcome: AttemptResult) -> None:
    """Note what came of an attempt, and what follows from it."""
    now = timezone.now()
    with transaction.atomic():
        WebhookAttempt.objects.filter(pk=job.attempt_id).update(
            finished_at=now,
            response_code=outcome.code,
            response_body=outcome.body,
            problem=outcome.problem,
        )
        if outcome.success:
            _succeeded(job, outcome, now)
        elif outcome.problem == Problem.INTERRUPTED:
            # The receiver had no part in it.
            _held(job).update(claim="", next_attempt_at=now, tries=job.tries - 1)
        else:
            _failed(job, outcome, now)


def _held(job: Job) -> QuerySet[WebhookDelivery]:
    """The delivery, unless its lease ended and another worker has it."""
    return WebhookDelivery.objects.filter(pk=job.delivery_id, claim=job.claim)


def _succeeded(job: Job, outcome: AttemptResult, now: datetime) -> None:
    endpoint = WebhookEndpoint.objects.filter(pk=job.endpoint_id, failing_since__isnull=False)
    endpoint.update(failing_since=None)
    # Also one that another worker sends again meanwhile: the receiver has it.
    WebhookDelivery.objects.filter(pk=job.delivery_id).update(
        status=Status.DELIVERED, claim="", response_code=outcome.code, finished_at=now
    )


def _failed(job: Job, outcome: AttemptResult, now: datetime) -> None:
    # The endpoint before its delivery, everywhere: who takes them the other way round waits for us
    # while we wait for it.
    endpoints = WebhookEndpoint.objects.select_for_update(no_key=True)
    endpoint = endpoints.filter(pk=job.endpoint_id).first()
    if endpoint is None:
        return  # deleted meanwhile, and its deliveries with it
    if endpoint.failing_since is None:
        endpoint.failing_since = now
        endpoint.save(update_fields=["failing_since"])
    after = schedule.next_attempt(
        job.tries,
        now,
        delays=settings.REALTIME_WEBHOOK_RETRY_DELAYS,
        retry_after=outcome.retry_after,
        chance=random.random(),
    )
    if after is None:
        _held(job).update(status=Status.FAILED, finished_at=now)
    # One that was given up meanwhile, as its endpoint was disabled, stays failed.
    _held(job).update(claim="", response_code=outcome.code, next_attempt_at=after or now)
    if outcome.code == 410:
        disable(endpoint, Reason.GONE)
    elif schedule.gives_up(endpoint.failing_since, job.created_at, now):
        disable(endpoint, Reason.FAILING)


def disable(endpoint: WebhookEndpoint, reason: WebhookEndpoint.Reason) -> bool:
    """Stop sending to an endpoint: what waits for it has failed, and can be resent later.

    False when it was disabled already. Unless the owner did it, the owner is told.
    """
    with transaction.atomic():
        enabled = WebhookEndpoint.objects.filter(pk=endpoint.pk, enabled=True)
        if not enabled.update(enabled=False, disabled_reason=reason):
            return False
        endpoint.enabled, endpoint.disabled_reason = False, reason
        WebhookDelivery.objects.filter(endpoint=endpoint, status=Status.PENDING).update(
            status=Status.FAILED, finished_at=timezone.now()
        )
        if reason != Reason.OWNER:
            transaction.on_commit(partial(tell_owner, endpoint))
    return True


def enable(endpoint: WebhookEndpoint) -> None:
    """Send to an endpoint again, as if it had never failed."""
    endpoint.enabled, endpoint.disabled_reason, endpoint.failing_since = True, "", None
    endpoint.save(update_fields=["enabled", "disabled_reason", "failing_since"])


def resend(deliveries: QuerySet[WebhookDelivery]) -> int:
    """Send these once more, with the ids that they had, and all attempts; returns how many.

    Those that are pending, and those of disabled endpoints, are left as they are.
    """
    chosen = deliveries.filter(endpoint__enabled=True).exclude(status=Status.PENDING)
    # Not through the join: an UPDATE has none.
    return WebhookDelivery.objects.filter(pk__in=chosen.order_by().values("pk")).update(
        status=Status.PENDING, claim="", tries=0, next_attempt_at=timezone.now(), finished_at=None
    )


def prune() -> int:
    """Delete what was finished REALTIME_WEBHOOK_LOG_DAYS ago; returns how many rows."""
    before = days_before(timezone.now(), settings.REALTIME_WEBHOOK_LOG_DAYS)
    if before is None:
        return 0
    old = WebhookDelivery.objects.filter(created_at__lt=before).exclude(status=Status.PENDING)
    deleted = 0
    while chosen := list(old.order_by().values_list("pk", flat=True)[:_PRUNED_AT_ONCE]):
        WebhookDelivery.objects.filter(pk__in=chosen).delete()
        deleted += len(chosen)
    return deleted
