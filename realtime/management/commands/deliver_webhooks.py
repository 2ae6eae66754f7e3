"""`manage.py deliver_webhooks`: sends to webhooks and destinations, until SIGTERM or SIGINT."""

import asyncio

from asgiref.sync import async_to_sync
from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from realtime.management.background import BackgroundCommand
from realtime.webhooks.worker import deliver_due, run_webhooks


class Command(BackgroundCommand):
    help = (
        "Send events to webhooks and alerts to destinations, and what failed again. Any number of "
        "these processes share the work; one that is killed is replaced by the others within a "
        "minute."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once", action="store_true", help="send what is due now, and stop: for cron"
        )

    def handle(self, *args: object, **options: object) -> None:
        if not options["once"]:
            super().handle(*args, **options)
            return
        try:
            made = async_to_sync(deliver_due)()
        except DatabaseError as exc:
            raise CommandError(f"The database did not answer: {exc}") from exc
        self.stdout.write(f"{made} attempt(s) made")

    async def run(self, stop: asyncio.Event, **options: object) -> None:
        await run_webhooks(stop)
