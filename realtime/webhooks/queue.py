"""The delivery rows as a queue that any number of workers share.

A webhook gets each event by itself. A destination gets all that is due in one message, and then
nothing for REALTIME_DIGEST_SECONDS: a burst of alerts is two messages.

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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from realtime.aside import is_outage, set_aside
from realtime.conf import conf
from realtime.models import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from realtime.models.destinations import quiet_until
from realtime.users import active
from realtime.values import days_before
from realtime.webhook_secrets import SecretUnreadable
from realtime.webhooks import schedule
from realtime.webhooks.messages import message_to
from realtime.webhooks.owners import tell_owner
from realtime.webhooks.results import AttemptResult
from realtime.webhooks.sender import Request, WebhookRequest

logger = logging.getLogger(__name__)

Kind = WebhookEndpoint.Kind
Status = WebhookDelivery.Status
Reason = WebhookEndpoint.Reason
Problem = WebhookAttempt.Problem

# Deliveries that one message holds at most.
DIGEST: Final = 1000
# Deliveries that one transaction claims: databases limit the values in a statement.
_CLAIMED_AT_ONCE: Final = 5000
# Old rows that one DELETE removes: other writers need the database too.
_PRUNED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in a job, with the row of this attempt."""

    delivery_id: int
    attempt_id: int
    tries: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt that a worker may make, before `send_before`; of a webhook for one delivery."""

    endpoint_id: int
    deliveries: Sequence[Claimed]
    claim: str
    send_before: datetime
    request: Request

    @property
    def delivery_ids(self) -> list[int]:
        return [each.delivery_id for each in self.deliveries]

    def __str__(self) -> str:
        return f"webhook delivery {', '.join(map(str, self.delivery_ids))}"


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
        rows = list(
            _in_flight(now).values_list(
                "endpoint_id", "endpoint__owner_id", "claim", "endpoint__kind"
            )
        )
        # The deliveries of one message take one place.
        messages = {row for row in rows if row[3] != Kind.WEBHOOK}
        attempts = [*(row for row in rows if row[3] == Kind.WEBHOOK), *messages]
        self.by_endpoint = Counter(endpoint for endpoint, *_ in attempts)
        self.by_owner = Counter(owner for _, owner, *_ in attempts)

    def owners_without_room(self, free: int) -> list[Any]:
        return [owner for owner in self.by_owner if not self._share(owner, free)]

    def room(self, endpoint: WebhookEndpoint, free: int) -> int:
        """How many more attempts for an endpoint may begin, given the number of free places."""
        # A failing endpoint gets one attempt at a time, which leaves places for the others.
        single = endpoint.failing_since or endpoint.kind != Kind.WEBHOOK
        most = 1 if single else conf.REALTIME_WEBHOOK_CONCURRENCY
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
    endpoints = WebhookEndpoint.every.defer("events", "symbols")
    waits = Q(hold_until__isnull=False, hold_until__gt=now)
    return endpoints.filter(~waits, Exists(due), active("owner__"), enabled=True)


def _lock(endpoints: QuerySet[WebhookEndpoint], limit: int) -> list[WebhookEndpoint]:
    if connection.features.has_select_for_update_skip_locked:
        # NO KEY: `emit` may go on writing rows that refer to the endpoint.
        endpoints = endpoints.select_for_update(of=("self",), skip_locked=True, no_key=True)
    # In random order, so that every endpoint gets its turn when there are more than free places.
    return list(endpoints.order_by("?")[:limit])


def _choose(endpoints: Iterable[WebhookEndpoint], limit: int, now: datetime) -> list[list[int]]:
    """The deliveries of each job to come."""
    held = _Held(now)  # counted again under the locks of the endpoints
    chosen: list[list[int]] = []
    for endpoint in endpoints:
        if sum(map(len, chosen)) >= _CLAIMED_AT_ONCE:
            break
        if room := held.room(endpoint, limit - len(chosen)):
            found = _next_of(endpoint, room, now)
            held.take(endpoint, len(found))
            chosen += found
    return chosen


def _next_of(endpoint: WebhookEndpoint, room: int, now: datetime) -> list[list[int]]:
    due = _due(now).filter(endpoint=endpoint).order_by("next_attempt_at", "pk")
    if endpoint.kind == Kind.WEBHOOK:
        return [[pk] for pk in due.values_list("pk", flat=True)[:room]]
    hold_until = now + timedelta(seconds=conf.REALTIME_DIGEST_SECONDS)
    if quiet := quiet_until(endpoint, now):
        hold_until, due = quiet, due.filter(event=WebhookEvent.TEST)
    found = list(due.values_list("pk", flat=True)[:DIGEST])
    WebhookEndpoint.every.filter(pk=endpoint.pk).update(hold_until=hold_until)
    return [found] if found else []


def _take(
    chosen: list[list[int]], endpoints: dict[int, WebhookEndpoint], now: datetime
) -> list[Job]:
    name, pks = uuid.uuid4().hex, [pk for job in chosen for pk in job]
    _due(now).filter(pk__in=pks).update(
        claim=name, next_attempt_at=now + lease(), tries=F("tries") + 1
    )
    taken = WebhookDelivery.objects.filter(pk__in=pks, claim=name).in_bulk()
    rows = [[taken[pk] for pk in sorted(job) if pk in taken] for job in chosen]
    attempts = WebhookAttempt.objects.bulk_create(
        WebhookAttempt(delivery=delivery, started_at=now) for job in rows for delivery in job
    )
    attempt_of = {each.delivery_id: each.pk for each in attempts}
    return [_job(job, endpoints[job[0].endpoint_id], attempt_of, now) for job in rows if job]


def _job(
    rows: list[WebhookDelivery],
    endpoint: WebhookEndpoint,
    attempt_of: Mapping[int, int],
    now: datetime,
) -> Job:
    return Job(
        endpoint_id=endpoint.pk,
        deliveries=[Claimed(row.pk, attempt_of[row.pk], row.tries, row.created_at) for row in rows],
        claim=rows[0].claim,
        # A worker that was suspended beyond this time must not begin: another one may have claimed
        # it.
        send_before=now + lease() / 3,
        request=_request(endpoint, rows, now),
    )


def _request(endpoint: WebhookEndpoint, rows: list[WebhookDelivery], now: datetime) -> Request:
    secrets: list[str] = []
    try:
        secrets = endpoint.secrets(now)
    except SecretUnreadable as exc:
        logger.error("webhook endpoint %d: %s", endpoint.pk, exc)
    if endpoint.kind == Kind.WEBHOOK:
        (row,) = rows
        return WebhookRequest(endpoint.url, row.webhook_id, row.body.encode(), secrets)
    address = secrets[0] if secrets else ""
    return message_to(endpoint, address, [row.body for row in rows])


def finish(job: Job, outcome: AttemptResult) -> None:
    """Record the result of an attempt and its consequences."""
    now = timezone.now()
    with transaction.atomic():
        attempts = [each.attempt_id for each in job.deliveries]
        WebhookAttempt.objects.filter(pk__in=attempts).update(
            finished_at=now,
            response_code=outcome.code,
            response_body=outcome.body,
            problem=outcome.problem,
        )
        if outcome.success:
            _succeeded(job, outcome, now)
        elif outcome.problem == Problem.INTERRUPTED:
            # The receiver is not to blame.
            _held(job).update(claim="", next_attempt_at=now, tries=F("tries") - 1)
        else:
            _failed(job, outcome, now)


def _held(job: Job) -> QuerySet[WebhookDelivery]:
    """The deliveries, except those whose lease has ended and that another worker holds."""
    return WebhookDelivery.objects.filter(pk__in=job.delivery_ids, claim=job.claim)


def _succeeded(job: Job, outcome: AttemptResult, now: datetime) -> None:
    endpoint = WebhookEndpoint.every.filter(pk=job.endpoint_id, failing_since__isnull=False)
    endpoint.update(failing_since=None)
    # Even if another worker is sending them again: the receiver has received them.
    WebhookDelivery.objects.filter(pk__in=job.delivery_ids).update(
        status=Status.DELIVERED, claim="", response_code=outcome.code, finished_at=now
    )


def _failed(job: Job, outcome: AttemptResult, now: datetime) -> None:
    # Lock order: the endpoint before its delivery, everywhere; the reverse order could deadlock.
    endpoints = WebhookEndpoint.every.select_for_update(no_key=True)
    endpoint = endpoints.filter(pk=job.endpoint_id).first()
    if endpoint is None:
        return  # deleted meanwhile, together with its deliveries
    if endpoint.failing_since is None:
        endpoint.failing_since = now
        endpoint.save(update_fields=["failing_since"])
    chance = random.random()  # one for all, which then come together again
    for tries in {each.tries for each in job.deliveries}:
        _postpone(job, tries, outcome, chance, now)
    if outcome.code == 410:
        disable(endpoint, Reason.GONE)
    elif schedule.gives_up(endpoint.failing_since, job.deliveries[0].created_at, now):
        disable(endpoint, Reason.FAILING)


def _postpone(job: Job, tries: int, outcome: AttemptResult, chance: float, now: datetime) -> None:
    """Those of its deliveries that were tried so often are tried again later, or have failed."""
    after = schedule.next_attempt(
        tries,
        now,
        delays=conf.REALTIME_WEBHOOK_RETRY_DELAYS,
        retry_after=outcome.retry_after,
        chance=chance,
    )
    held = _held(job).filter(tries=tries)
    if after is None:
        held.update(status=Status.FAILED, finished_at=now)
    # A delivery that failed meanwhile because its endpoint was disabled stays failed.
    held.update(claim="", response_code=outcome.code, next_attempt_at=after or now)


def disable(endpoint: WebhookEndpoint, reason: WebhookEndpoint.Reason) -> bool:
    """Stop sending to an endpoint: its pending deliveries fail, and can be resent later.

    False if it was disabled already. The owner is notified of any change that someone else made.
    """
    with transaction.atomic():
        enabled = WebhookEndpoint.every.filter(pk=endpoint.pk, enabled=True)
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
