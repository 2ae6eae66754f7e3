"""Destinations: where a user wants the alerts of single rules, by e-mail or in a chat."""

from datetime import datetime
from typing import ClassVar

import msgspec
from django.db import models
from django.db.models import QuerySet

from realtime.hours import ActiveHours
from realtime.models.webhooks import WebhookEndpoint
from realtime.users import active
from realtime.webhook_secrets import unseal


class DestinationManager(models.Manager["Destination"]):
    def get_queryset(self) -> QuerySet["Destination"]:
        return super().get_queryset().exclude(kind=WebhookEndpoint.Kind.WEBHOOK)

    def ready(self) -> QuerySet["Destination"]:
        """Those that alerts may be sent to."""
        confirmed = self.filter(active("owner__"), enabled=True, confirmed_at__isnull=False)
        return confirmed.order_by()


class Destination(WebhookEndpoint):
    """A row of the same table as webhooks, and so of the same queue.

    `url` is what may be shown of the address, `sealed_secret` the address itself.
    """

    objects: ClassVar[DestinationManager] = DestinationManager()  # type: ignore[assignment]

    class Meta:
        proxy = True
        verbose_name = "destination"
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.description or self.url

    def clean_fields(self, exclude: object = None) -> None:
        # Not the rules of a webhook's URL.
        super().clean_fields({*(exclude or ()), "url", "events", "symbols"})  # type: ignore[misc]

    @property
    def address(self) -> str:
        """The e-mail address or the URL of a chat; raises SecretUnreadable."""
        return unseal(self.sealed_secret)

    @property
    def confirmed(self) -> bool:
        return self.confirmed_at is not None


def hours_of(endpoint: WebhookEndpoint) -> ActiveHours | None:
    """The quiet hours; None without, or where they cannot be read."""
    try:
        hours = msgspec.convert(endpoint.quiet_hours, ActiveHours)
    except msgspec.ValidationError:
        return None
    return None if hours.problem else hours


def quiet_until(endpoint: WebhookEndpoint, now: datetime) -> datetime | None:
    """The end of the quiet hours that it is in; None outside of them."""
    hours, moment = hours_of(endpoint), int(now.timestamp() * 1000)
    if hours is None or not hours.contain(moment):
        return None
    return datetime.fromtimestamp(hours.next_change(moment) / 1000, now.tzinfo)
