"""The delivery rows as a queue that any number of workers share.

A worker *claims* a delivery before it sends it: one transaction selects due deliveries and sets the
time when they are due again to the end of the lease. Other workers then find nothing due; if the
worker dies, the lease ends and the delivery is due again. A result that arrives after the lease is
logged, and changes the delivery only if it is a success.

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

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from realtime.aside import is_outage, set_aside
from realtime.conf import conf
from realtime.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from realtime.users import active
from realtime.values import days_before
from realtime.webhook_secrets import SecretUnreadable
from realtime.webhooks import schedule
from realtime.webhooks.owners import tell_owner
from realtime.webhooks.sender import AttemptResult, WebhookRequest

logger = logging.getLogger(__name__)

Status = WebhookDelivery.Status
Reason = WebhookEndpoint.Reason
Problem = WebhookAttempt.Problem

# Old rows that one DELETE removes: other writers need the database too.
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
    """The duration of a claim: three times that of an attempt, for a busy machine."""
    return timedelta(seconds=3 * conf.REALTIME_WEBHOOK_TIMEOUT)


def claim(limit: int) -> list[Job]:
    """Claim at most `limit` due deliveries, a few of each endpoint, oldest first."""
    now = timezone.now()
    if not limit or not _with_something_due(now).exists():
        return []
    # Otherwise endpoints of owners without free places could fill the whole selection.
    waiting = _with_something_due(now).exclude(owner_id__in=_Held(now).owners_without_room(limit))
    try:
        return _claim(waiting, limit, now)
    except Exception as exc:
        if is_outage(exc):
            raise
    # A bad row of one endpoint must not affect the others.
    jobs: list[Job] = []
    for pk in waiting.order_by("?").values_list("pk", flat=True)[:limit]:
        with set_aside(f"webhook endpoint {pk}"):
            jobs += _claim(waiting.filter(pk=pk), limit - len(jobs), now)
    return jobs


class _Held:
    """The number of attempts in progress, by endpoint and by owner, over all workers.

    An owner may occupy as many places as remain free: half of them if alone, then a third, so slow
    receivers of one user do not delay those of others. A few places are always open to every owner.
    """

    def __init__(self, now: datetime) -> None:
        rows = list(_in_flight(now).values_list("endpoint_id", "endpoint__owner_id"))
        self.by_endpoint = Counter(endpoint for endpoint, _ in rows)
        self.by_owner = Counter(owner for _, owner in rows)

    def owners_without_room(self, free: int) -> list[Any]:
        return [owner for owner in self.by_owner if not self._share(owner, free)]

    def room(self, endpoint: WebhookEndpoint, free: int) -> int:
        """How many more attempts for an endpoint may begin, given the number of free places."""
        # A failing endpoint gets one attempt at a time, which leaves places for the others.
        most = 1 if endpoint.failing_since else conf.REALTIME_WEBHOOK_CONCURRENCY
        share = self._share(endpoint.owner_id, free)
        return max(0, min(most - self.by_endpoint[endpoint.pk], free, share))

    def _share(self, owner: Any, free: int) -> int:
        held = self.by_owner[owner]
        few: int = conf.REALTIME_WEBHOOK_CONCURRENCY - held
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
    # One index look-up per endpoint: the backlog of a dead one may be long.
    due = _due(now).filter(endpoint=OuterRef("pk"))
    # The endpoint's filters were applied when the delivery was written.
    endpoints = WebhookEndpoint.objects.defer("events", "symbols")
    return endpoints.filter(Exists(due), active("owner__"), enabled=True)


def _lock(endpoints: QuerySet[WebhookEndpoint], limit: int) -> list[WebhookEndpoint]:
    if connection.features.has_select_for_update_skip_locked:
        # NO KEY: `emit` may go on writing rows that refer to the endpoint.
        endpoints = endpoints.select_for_update(of=("self",), skip_locked=True, no_key=True)
    # In random order, so that every endpoint gets its turn when there are more than free places.
    return list(endpoints.order_by("?")[:limit])


def _choose(endpoints: Iterable[WebhookEndpoint], limit: int, now: datetime) -> list[int]:
    held = _Held(now)  # counted again under the locks of the endpoints
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
        # A worker that was suspended beyond this time must not begin: another one may have claimed
        # it.
        send_before=attempt.started_at + lease() / 3,
        request=WebhookRequest(endpoint.url, delivery.webhook_id, delivery.body.encode(), secrets),
    )


def finish(job: Job, outcome: AttemptResult) -> None:
    """Record the result of an attempt and its consequences."""
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
            # The receiver is not to blame.
            _held(job).update(claim="", next_attempt_at=now, tries=job.tries - 1)
        else:
            _failed(job, outcome, now)


def _held(job: Job) -> QuerySet[WebhookDelivery]:
    """The delivery, unless its lease has ended and another worker holds it."""
    return WebhookDelivery.objects.filter(pk=job.delivery_id, claim=job.claim)


def _succeeded(job: Job, outcome: AttemptResult, now: datetime) -> None:
    endpoint = WebhookEndpoint.objects.filter(pk=job.endpoint_id, failing_since__isnull=False)
    endpoint.update(failing_since=None)
    # Even if another worker is sending it again: the receiver has received it.
    WebhookDelivery.objects.filter(pk=job.delivery_id).update(
        status=Status.DELIVERED, claim="", response_code=outcome.code, finished_at=now
    )


def _failed(job: Job, outcome: AttemptResult, now: datetime) -> None:
    # Lock order: the endpoint before its delivery, everywhere; the reverse order could deadlock.
    endpoints = WebhookEndpoint.objects.select_for_update(no_key=True)
    endpoint = endpoints.filter(pk=job.endpoint_id).first()
    if endpoint is None:
        return  # deleted meanwhile, together with its deliveries
    if endpoint.failing_since is None:
        endpoint.failing_since = now
        endpoint.save(update_fields=["failing_since"])
    after = schedule.next_attempt(
        job.tries,
        now,
        delays=conf.REALTIME_WEBHOOK_RETRY_DELAYS,
        retry_after=outcome.retry_after,
        chance=random.random(),
    )
    if after is None:
        _held(job).update(status=Status.FAILED, finished_at=now)
    # A delivery that failed meanwhile because its endpoint was disabled stays failed.
    _held(job).update(claim="", response_code=outcome.code, next_attempt_at=after or now)
    if outcome.code == 410:
        disable(endpoint, Reason.GONE)
    elif schedule.gives_up(endpoint.failing_since, job.created_at, now):
        disable(endpoint, Reason.FAILING)


def disable(endpoint: WebhookEndpoint, reason: WebhookEndpoint.Reason) -> bool:
    """Stop sending to an endpoint: its pending deliveries fail, and can be resent later.

    False if it was disabled already. The owner is notified of any change that someone else made.
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
    """Send deliveries again, with the same ids and a full set of attempts; returns how many.

    Pending deliveries, and deliveries of disabled endpoints, are left unchanged.
    """
    chosen = deliveries.filter(endpoint__enabled=True).exclude(status=Status.PENDING)
    # By a subquery, since an UPDATE cannot join.
    return WebhookDelivery.objects.filter(pk__in=chosen.order_by().values("pk")).update(
        status=Status.PENDING, claim="", tries=0, next_attempt_at=timezone.now(), finished_at=None
    )


def prune() -> int:
    """Delete finished deliveries older than REALTIME_WEBHOOK_LOG_DAYS; returns how many."""
    before = days_before(timezone.now(), conf.REALTIME_WEBHOOK_LOG_DAYS)
    if before is None:
        return 0
    old = WebhookDelivery.objects.filter(created_at__lt=before).exclude(status=Status.PENDING)
    deleted = 0
    while chosen := list(old.order_by().values_list("pk", flat=True)[:_PRUNED_AT_ONCE]):
        WebhookDelivery.objects.filter(pk__in=chosen).delete()
        deleted += len(chosen)
    return deleted
