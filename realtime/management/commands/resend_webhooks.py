"""`manage.py resend_webhooks`: sends failed deliveries again."""

import argparse
from datetime import datetime, timedelta

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from realtime.management.keys import duration, moment
from realtime.models import WebhookDelivery, WebhookEndpoint
from realtime.webhooks.queue import resend


class Command(BaseCommand):
    help = (
        "Send events that were given up again, with the same ids. "
        "Those of disabled endpoints are left as they are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            type=_past,
            required=True,
            metavar="TIME",
            help="of the events: 2030-01-31, 2030-01-31T12:00Z, or how long ago: 90m, 12h, 3d",
        )
        parser.add_argument(
            "--endpoint", type=int, metavar="ID", help="of this endpoint only (default: all)"
        )

    def handle(
        self, *args: object, since: datetime, endpoint: int | None = None, **options: object
    ) -> None:
        failed = WebhookDelivery.objects.filter(
            status=WebhookDelivery.Status.FAILED, created_at__gte=since
        )
        if endpoint is not None:
            found = WebhookEndpoint.objects.filter(pk=endpoint).first()
            if found is None:
                raise CommandError(f"--endpoint: there is no endpoint {endpoint}")
            if not found.enabled:
                raise CommandError(f"--endpoint: {endpoint} is disabled; enable it first")
            failed = failed.filter(endpoint=found)
        self.stdout.write(f"{resend(failed)} event(s) will be sent again")


def _past(text: str) -> datetime:
    try:
        ago: timedelta = duration(text)
    except argparse.ArgumentTypeError:
        return moment(text)
    try:
        return timezone.now() - ago
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} ago was before all calendars") from None
