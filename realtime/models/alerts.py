"""Alerts: the rules that fire them, how far each rule has come, the inbox, who has seen what."""

from datetime import datetime
from typing import ClassVar, Final

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from realtime.models.keys import ApiKey
from realtime.protocol import SEVERITIES
from realtime.streams import MAX_SYMBOL_LENGTH

SEVERITY_CHOICES: Final = [(severity, severity) for severity in SEVERITIES]


class AlertRule(models.Model):
    """A checked definition and its owner. `realtime.alerts.rule_editing` writes these."""

    class Source(models.TextChoices):
        REST = "rest"
        SOCKET = "socket"
        ADMIN = "admin"

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="alert_rules",
        null=True,
        blank=True,
        help_text="The user who receives the alerts. Empty: all users.",
    )
    # The key by which it was made or changed last, also when that is deleted; see alerts/rights.py.
    key = models.ForeignKey(
        ApiKey,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
        null=True,
        editable=False,
    )
    name = models.CharField(max_length=100)
    # As `Definition.as_data()` has it, without name and paused.
    definition = models.JSONField()
    severity = models.CharField(max_length=8, choices=SEVERITY_CHOICES, editable=False)
    paused = models.BooleanField(default=False)
    source = models.CharField(max_length=8, choices=Source.choices, default=Source.REST)
    # Grows with every change: states of an earlier one are void, and engines look for it.
    revision = models.PositiveIntegerField(default=1, editable=False)
    # The rule ignores what was published before.
    changed_at = models.DateTimeField(default=timezone.now, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_fired_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class AlertRuleState(models.Model):
    """How far a rule has come on a symbol; absent while there is nothing to remember."""

    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="states")
    symbol = models.CharField(max_length=MAX_SYMBOL_LENGTH)
    revision = models.PositiveIntegerField()
    data = models.JSONField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "symbol"], name="one_alert_state_per_symbol")
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} on {self.symbol}"


class AlertProgress(models.Model):
    """How far a symbol's streams were taken into account.

    `positions` by channel: epoch and offset. `fence` grows with every commit; an engine whose
    number is not the stored one has lost the symbol to another, and commits nothing.
    """

    symbol = models.CharField(max_length=MAX_SYMBOL_LENGTH, primary_key=True)
    positions = models.JSONField(default=dict)
    state = models.JSONField(default=dict)
    fence = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "alert progress"

    def __str__(self) -> str:
        return self.symbol


class AlertProblem(models.Model):
    """A rule that cannot be evaluated on a symbol, and is set aside so that all others go on.

    Without a symbol it is the rule itself; without a rule, the symbol with all rules on it.
    """

    symbol = models.CharField(max_length=MAX_SYMBOL_LENGTH, blank=True)
    rule = models.ForeignKey(
        AlertRule, on_delete=models.CASCADE, related_name="problems", null=True, blank=True
    )
    reason = models.CharField(max_length=300)
    since = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-since", "-id"]

    def __str__(self) -> str:
        return f"{self.rule or 'all rules'} on {self.symbol or 'every symbol'}"


class AlertQuerySet(models.QuerySet["Alert"]):
    def visible_to(self, user: AbstractBaseUser) -> "AlertQuerySet":
        """The user's own alerts, and those for everybody since the user is here.

        All of those for everybody, where the user model does not say since when that is.
        """
        joined: datetime | None = getattr(user, "date_joined", None)
        to_all = Q(owner=None) if joined is None else Q(owner=None, created_at__gte=joined)
        return self.filter(Q(owner_id=user.pk) | to_all)

    def with_acknowledged(self, user: AbstractBaseUser) -> "AlertQuerySet":
        """Annotated with `acknowledged`: has this user said so?"""
        return self.annotate(acknowledged=_seen_by(user))

    def unacknowledged(self, user: AbstractBaseUser) -> "AlertQuerySet":
        """Without those that this user has acknowledged."""
        return self.filter(~_seen_by(user))


def _seen_by(user: AbstractBaseUser) -> Exists:
    return Exists(AlertAcknowledgement.objects.filter(alert=OuterRef("pk"), user_id=user.pk))


class AlertManager(models.Manager["Alert"]):
    def get_queryset(self) -> AlertQuerySet:
        return AlertQuerySet(self.model, using=self._db)


class Alert(models.Model):
    """One alert, stored before it is sent. `uid` is the `id` that clients see."""

    uid = models.CharField(max_length=64, unique=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="alerts",
        null=True,
        blank=True,
        help_text="Empty: for all users.",
    )
    rule = models.ForeignKey(
        AlertRule, on_delete=models.SET_NULL, related_name="alerts", null=True, blank=True
    )
    symbol = models.CharField(max_length=MAX_SYMBOL_LENGTH, blank=True, default="")
    severity = models.CharField(max_length=8, blank=True, default="")
    data = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    # None: stored, and on its way. What is left so by a crash is sent by the next engine.
    sent_at = models.DateTimeField(null=True, blank=True)
    # Which webhook to tell, and when, unless somebody has acknowledged it.
    escalate_to = models.ForeignKey(
        "realtime.WebhookEndpoint", on_delete=models.SET_NULL, null=True, blank=True
    )
    escalate_at = models.DateTimeField(null=True, blank=True)
    escalated_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[AlertManager] = AlertManager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="alert_owner_created"),
            models.Index(fields=["id"], name="alert_unsent", condition=Q(sent_at=None)),
            models.Index(
                fields=["escalate_at"],
                name="alert_escalation_due",
                condition=Q(escalate_at__isnull=False, escalated_at=None),
            ),
        ]

    def __str__(self) -> str:
        return str(self.data.get("message") or self.uid)

    @property
    def audience(self) -> str:
        """`all` or `user`, as on the wire."""
        return "all" if self.owner_id is None else "user"


class AlertAcknowledgement(models.Model):
    """A user has seen an alert; one for everybody is seen by each of them."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="acknowledgements")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="acknowledged_alerts"
    )
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["alert", "user"], name="one_acknowledgement_per_user")
        ]

    def __str__(self) -> str:
        return f"{self.user_id} has seen {self.alert_id}"
