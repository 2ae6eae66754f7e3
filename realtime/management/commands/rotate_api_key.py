"""`manage.py rotate_api_key`: gives a key a new secret."""

from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.management.keys import duration, find_key, utf8
from realtime.models import ApiKey


class Command(BaseCommand):
    help = "Give an API key a new secret and print the key: it cannot be printed again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", type=utf8, help="visible part: ara_k3f9a2bc")
        parser.add_argument(
            "--overlap", type=duration, default=timedelta(days=1), metavar="DURATION",
            help="how long the old secret keeps working: 0, 12h, 7d (default: 1d)",
        )  # fmt: skip

    def handle(self, *, key: str, overlap: timedelta, **options: object) -> None:
        found = find_key(key)
        if found.status != ApiKey.Status.ACTIVE:
            raise CommandError(
                f"{found} is {found.status.value}. Create a new one: create_api_key."
            )
        raw = found.rotate(overlap)
        self.stdout.write(raw)
        until = found.previous_expires_at
        old = f"works until {until:%Y-%m-%d %H:%M %Z}" if until else "no longer works"
        self.stderr.write(f"Rotated {found}. The old secret {old}. Keep the new one now.")
