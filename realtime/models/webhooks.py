"""Webhooks: where users want events sent, what is to be sent, and what became of it."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import msgspec
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from realtime.hours import ActiveHours
from realtime.scopes import MAX_PATTERNS, InvalidScope, matches, parse_pattern
from realtime.webhook_addresses import InvalidUrl, parse_url
from realtime.webhook_secrets import new_secret, seal, unseal

DEFAULT_OVERLAP: Final = timedelta(days=1)
# All that an owner learns of a name that is not known, an address inside, a port where nobody
# listens, a bad certificate, or silence: the difference would tell what there is inside.
NO_ANSWER: Final = "There was no valid answer from this URL."


# Of problems that tell nothing of what there is inside.
_FOR_OWNERS: Final[Mapping[str, str]] = {
    "setup": "This server is not set up to send it. Its operator finds the reason in the log.",
    "mail": "The mail server did not take it.",
}


class WebhookEvent(models.TextChoices):
    """`type` in the payload."""

    PREDICTION_COMPLETE = "prediction_complete", "prediction_complete"
    ALERT_TRIGGERED = "alert_triggered", "alert_triggered"
    PREDICTION_OUTCOME = "prediction_outcome", "prediction_outcome"
    STREAM_STALE = "stream_stale", "stream_stale"
    TEST = "test", "test"


def validate_url(value: object) -> None:
    try:
        parse_url(value)
    except InvalidUrl as exc:
        raise ValidationError(str(exc)) from exc


def validate_events(value: object) -> None:
    if not isinstance(value, list) or not value:
        raise ValidationError(f"Name at least one event of {', '.join(WebhookEvent.values)}.")
    for name in value:
        if name not in WebhookEvent.values:
            raise ValidationError(
                f"{name!r} is not an event; choose {', '.join(WebhookEvent.values)}."
            )


def validate_patterns(value: object) -> None:
    if not isinstance(value, list):
        raise ValidationError("Symbols must be a list of patterns: AAPL, BTC*")
    if len(value) > MAX_PATTERNS:
        raise ValidationError(f"Symbols has more than {MAX_PATTERNS} patterns.")
    for text in value:
        try:
            parse_pattern(text)
        except InvalidScope as exc:
            raise ValidationError(str(exc)) from exc


def validate_quiet_hours(value: object) -> None:
    try:
        hours = msgspec.convert(value, ActiveHours)
    except msgspec.ValidationError as exc:
        raise ValidationError(f"Quiet hours: {exc}") from exc
    if hours.problem is not None:
        raise ValidationError("Quiet hours: {} {}.".format(*hours.problem))
    if hours.start == hours.end:
        raise ValidationError("Quiet hours: end must differ from start.")


def every_event() -> list[str]:
    return list(WebhookEvent.values)


def new_webhook_id() -> str:
    return f"msg_{uuid.uuid4().hex}"


class WebhookEndpointManager(models.Manager["WebhookEndpoint"]):
    """Webhooks alone; `every` has the destinations of alerts, too."""

    def get_queryset(self) -> models.QuerySet["WebhookEndpoint"]:
        return super().get_queryset().filter(kind=WebhookEndpoint.Kind.WEBHOOK)

    def create_endpoint(
        self,
        owner: Any,
        url: str,
        *,
        events: Sequence[str] | None = None,
        symbols: Sequence[str] = (),
        description: str = "",
        enabled: bool = True,
    ) -> tuple["WebhookEndpoint", str]:
        """The saved endpoint and its secret, which is shown here and never again.

        Raises ValidationError, by field.
        """
        endpoint = self.model(
            owner=owner,
            url=url,
            events=every_event() if events is None else list(events),
            symbols=list(symbols),
            description=description,
            enabled=enabled,
        )
        secret = endpoint.issue()
        endpoint.full_clean()
        endpoint.save()
        return endpoint, secret


class WebhookEndpoint(models.Model):
    """A URL of one user, and which events it gets; or a `Destination`, for the alerts of rules.

    What is `enabled=False` gets nothing, and events that happen meanwhile are not kept for it.
    """

    class Kind(models.TextChoices):
        """How it is sent to."""

        WEBHOOK = "webhook", "webhook"
        EMAIL = "email", "e-mail"
        CHAT = "chat", "chat"

    class Reason(models.TextChoices):
        """Why an endpoint is disabled."""

        OWNER = "owner", "by its owner"
        GONE = "gone", "the receiver answered 410 Gone"
        FAILING = "failing", "five days without a success"
        STOPPED = "stopped", "by the recipient, with the link in a mail"

    kind = models.CharField(
        max_length=7, choices=Kind.choices, default=Kind.WEBHOOK, editable=False
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks"
    )
    url = models.CharField("URL", max_length=500, validators=[validate_url])
    description = models.CharField(max_length=200, blank=True)
    events = models.JSONField(default=every_event, validators=[validate_events])
    symbols = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_patterns],
        help_text="Patterns: AAPL, BTC*. Empty: every symbol.",
    )
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(
        max_length=8, choices=Reason.choices, blank=True, editable=False
    )
    # The first failure since the last success.
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    # Of a webhook what signs, of a destination the address.
    sealed_secret = models.TextField(editable=False)
    # The secret before the last rotation, which signs as well until previous_expires_at.
    previous_sealed_secret = models.CharField(max_length=300, blank=True, editable=False)
    previous_expires_at = models.DateTimeField(
        "old secret signs until", null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # Of destinations alone. The owner of an address has agreed to get alerts there.
    confirmed_at = models.DateTimeField("confirmed", null=True, blank=True, editable=False)
    # When it gets nothing; what happens meanwhile comes afterwards, in one message.
    quiet_hours = models.JSONField(
        null=True,
        blank=True,
        validators=[validate_quiet_hours],
        help_text='{"start": "22:00", "end": "07:00", "timezone": "Europe/Berlin"}: alerts of '
        "these hours come afterwards, in one message.",
    )
    # Until when what is due waits, to be sent together.
    hold_until = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[WebhookEndpointManager] = WebhookEndpointManager()
    every: ClassVar[models.Manager["WebhookEndpoint"]] = models.Manager()

    class Meta:
        verbose_name = "webhook endpoint"
        ordering = ["-created_at", "-id"]
        indexes = [
            # What `emit` asks for, several times a second.
            models.Index(fields=["owner"], condition=Q(enabled=True), name="enabled_webhooks")
        ]

    def __str__(self) -> str:
        return self.description or self.url

    def clean(self) -> None:
        # The validators have said what is wrong; what is right is kept as it is compared.
        if isinstance(self.events, list):
            self.events = [name for name in WebhookEvent.values if name in self.events]
        try:
            self.symbols = list(dict.fromkeys(parse_pattern(text) for text in self.symbols))
        except (InvalidScope, TypeError):
            return

    def wants(self, event: str, symbol: str | None) -> bool:
        """Is this event of this symbol for the endpoint? One of no symbol passes every filter."""
        if event not in self.events:
            return False
        return symbol is None or not self.symbols or matches(self.symbols, symbol)

    def issue(self) -> str:
        """Give the endpoint a new secret and return it; the caller saves."""
        secret = new_secret()
        self.sealed_secret = seal(secret)
        return secret

    def rotate(self, overlap: timedelta = DEFAULT_OVERLAP) -> str:
        """Give the endpoint a new secret, saved, and return it.

        The old one signs too for `overlap`; the one before it does not any more.
        """
        self.previous_sealed_secret = self.sealed_secret if overlap else ""
        self.previous_expires_at = timezone.now() + overlap if overlap else None
        secret = self.issue()
        self.save(update_fields=["sealed_secret", "previous_sealed_secret", "previous_expires_at"])
        return secret

    def secrets(self, now: datetime) -> list[str]:
        """The secrets that sign at this time, the newest first; raises SecretUnreadable."""
        sealed = [self.sealed_secret]
        if self.previous_sealed_secret and (self.previous_expires_at or now) > now:
            sealed.append(self.previous_sealed_secret)
        return [unseal(text) for text in sealed]


class WebhookDelivery(models.Model):
    """One event for one endpoint: a row that is written with what caused it, and sent later."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"

    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries"
    )
    # The `webhook-id` header: the same in every attempt, and for every endpoint of one event.
    webhook_id = models.CharField("webhook-id", max_length=40, default=new_webhook_id)
    event = models.CharField(max_length=24, choices=WebhookEvent.choices)
    symbol = models.CharField(max_length=32, blank=True)
    # The payload, byte for byte as it is signed and sent (UTF-8).
    body = models.TextField()
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PENDING)
    # Attempts since it was written or resent; they decide the next delay.
    tries = models.PositiveSmallIntegerField(default=0)
    # When it is due. While a worker holds it, when it is due again should the worker die.
    next_attempt_at = models.DateTimeField(default=timezone.now)
    # Of the worker that sends it just now; empty: none does.
    claim = models.CharField(max_length=32, blank=True, editable=False)
    response_code = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "webhook_id"], name="one_delivery_per_endpoint_and_id"
            )
        ]
        indexes = [
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                condition=Q(status="pending"),
                name="pending_deliveries",
            ),
            models.Index(fields=["endpoint"], condition=Q(claim__gt=""), name="claimed_deliveries"),
            models.Index(fields=["endpoint", "-created_at"], name="deliveries_of_endpoint"),
            models.Index(fields=["created_at"], name="deliveries_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.webhook_id}"

    @property
    def due_at(self) -> datetime | None:
        """When it is sent next; None: never, or it is being sent."""
        waits = self.status == self.Status.PENDING and not self.claim
        return self.next_attempt_at if waits else None


class WebhookAttempt(models.Model):
    """One try to send a delivery, and what came of it."""

    class Problem(models.TextChoices):
        """Why there was no answer. For operators: an owner learns only that there was none."""

        ADDRESS = "address", "address not allowed"
        NAME = "name", "name not resolved"
        CONNECT = "connect", "no connection"
        TIMEOUT = "timeout", "no answer in time"
        ANSWER = "answer", "answer that is not HTTP"
        SECRET = "secret", "secret not readable"
        SETUP = "setup", "not set up on this server"
        MAIL = "mail", "not taken by the mail server"
        INTERRUPTED = "interrupted", "the worker stopped"

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="attempts")
    started_at = models.DateTimeField(default=timezone.now)
    # None while it runs, and for good if the worker was killed meanwhile.
    finished_at = models.DateTimeField(null=True, blank=True)
    response_code = models.PositiveSmallIntegerField(null=True, blank=True)
    # The first kilobyte of it.
    response_body = models.TextField(blank=True)
    problem = models.CharField(max_length=11, choices=Problem.choices, blank=True)

    class Meta:
        verbose_name = "webhook attempt"
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M:%S} {self.response_code or self.problem}"

    @property
    def error_for_owner(self) -> str:
        """The same text whatever is inside the network: the owner of a URL is not the operator."""
        if self.problem in ("", self.Problem.INTERRUPTED):
            return str(self.get_problem_display())
        if self.problem == self.Problem.SECRET:
            return "The secret can no longer be read. Rotate it."
        return _FOR_OWNERS.get(self.problem, NO_ANSWER)
