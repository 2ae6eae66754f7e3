"""`manage.py resolve_predictions`: records outcomes of predictions whose horizon has passed."""

import asyncio

from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from realtime.broadcast import PublishFailed
from realtime.management.background import BackgroundCommand
from realtime.predictions.resolve import resolve_all, run_outcomes


class Command(BackgroundCommand):
    # Checks import every view and serializer of the project, none of which this command uses.
    requires_system_checks: list[str] = []
    help = (
        "Compare stored predictions with the recorded bars, as soon as their horizon has passed: "
        "store the outcome, move the score, tell the subscribers. Once, or with --follow until "
        "SIGTERM or SIGINT. Any number of these may run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--follow", action="store_true", help="go on as further bars come")

    async def run(self, stop: asyncio.Event, **options: object) -> None:
        await run_outcomes(stop)

    def handle(self, *args: object, **options: object) -> None:
        if options["follow"]:
            super().handle(*args, **options)
            return
        try:
            count = resolve_all()
        except (DatabaseError, PublishFailed) as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{count} outcome{'' if count == 1 else 's'}.")
