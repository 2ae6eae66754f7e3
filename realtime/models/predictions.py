"""Predictions as they were made, what became of them, and how good a model was lately."""

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone


class StoredPredictionQuerySet(models.QuerySet["StoredPrediction"]):
    def resolved(self) -> "StoredPredictionQuerySet":
        return self.filter(resolved_at__isnull=False)

    def due(self, now: datetime) -> "StoredPredictionQuerySet":
        return self.filter(resolved_at__isnull=True, check_at__lte=now).order_by("check_at")

    def scored(self, symbol: str, model: str) -> "StoredPredictionQuerySet":
        """The outcomes of a model for a symbol, the newest first."""
        return self.resolved().filter(symbol=symbol, model=model).order_by("-resolved_at", "-id")


class StoredPrediction(models.Model):
    """One prediction; prices in the symbol's currency, times in UTC.

    `as_of` and `valid_until` are on the clock of the market (in a replay they lie in the past), all
    other times on ours. The fields from `actual_price` on are empty until the outcome is known.
    """

    class Step(models.TextChoices):
        """What `horizon` counts."""

        DAY = "1d", "daily bars"
        MINUTE = "1m", "bars of a minute"
        UPDATE = "update", "single updates"

    symbol = models.CharField(max_length=32)
    model = models.CharField(max_length=64, blank=True, default="")
    model_version = models.CharField(max_length=64, blank=True, default="")
    # Of the prices that it rests on; "": not said.
    source = models.CharField(max_length=64, blank=True, default="")
    horizon = models.PositiveSmallIntegerField(default=1, help_text="Steps ahead.")
    step = models.CharField(max_length=8, choices=Step.choices, default=Step.DAY)
    predicted_price = models.FloatField()
    lower_bound = models.FloatField(null=True, blank=True)
    upper_bound = models.FloatField(null=True, blank=True)
    confidence = models.FloatField(
        null=True, blank=True, help_text="Nominal probability of a price within the bounds."
    )
    last_price = models.FloatField(null=True, blank=True, help_text="When it was made.")
    as_of = models.DateTimeField()
    valid_until = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now)
    # By a client: it is for that client alone.
    requested = models.BooleanField(default=False, db_default=False, editable=False)
    # By which a repetition of the request is recognised: the id that its sender gave it, hashed.
    request_id = models.CharField(max_length=32, null=True, blank=True, unique=True, editable=False)
    # When to look for the outcome next; empty: it is not looked for (any more).
    check_at = models.DateTimeField(null=True, blank=True, default=timezone.now)

    actual_price = models.FloatField(null=True, blank=True)
    error = models.FloatField(null=True, blank=True, help_text="Actual less predicted price.")
    within_bounds = models.BooleanField(null=True, blank=True, help_text="Empty: no bounds.")
    resolved_at = models.DateTimeField(null=True, blank=True)
    # When the sockets were told of the outcome.
    announced_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["StoredPrediction"]] = models.Manager.from_queryset(
        StoredPredictionQuerySet
    )()

    class Meta:
        verbose_name = "prediction"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="prediction_newest"),
            models.Index(fields=["symbol", "-created_at", "-id"], name="prediction_of_symbol"),
            models.Index(
                fields=["check_at"], condition=Q(resolved_at=None), name="prediction_pending"
            ),
            models.Index(
                fields=["symbol", "model", "-resolved_at", "-id"],
                condition=Q(resolved_at__isnull=False),
                name="prediction_outcomes",
            ),
            models.Index(
                fields=["resolved_at"],
                condition=Q(resolved_at__isnull=False, announced_at=None),
                name="prediction_unannounced",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.predicted_price:g} ({self.as_of:%Y-%m-%d} + {self.horizon})"

    @property
    def prediction_id(self) -> str:
        """As the wire has it."""
        return str(self.pk)


class PredictionScore(models.Model):
    """How good a model was for a symbol over its last outcomes (REALTIME_SCORE_WINDOW of them).

    Shares and `skill` are empty where no outcome tells: see `realtime.predictions.scores.Score`.
    The row is there from the first prediction on, with no outcomes.
    """

    symbol = models.CharField(max_length=32)
    model = models.CharField(max_length=64, blank=True, default="")
    outcomes = models.PositiveIntegerField(default=0)
    mean_absolute_error = models.FloatField(null=True)
    directional_accuracy = models.FloatField(null=True)
    within_bounds = models.FloatField("share within bounds", null=True)
    nominal = models.FloatField("nominal share", null=True)
    skill = models.FloatField("skill against no change", null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["symbol", "model"]
        constraints = [
            models.UniqueConstraint(
                fields=["symbol", "model"], name="one_score_per_symbol_and_model"
            )
        ]

    def __str__(self) -> str:
        return f"{self.symbol} {self.model or 'no model'}"
