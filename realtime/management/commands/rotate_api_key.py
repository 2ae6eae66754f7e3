"""`manage.py rotate_api_key`: a new secret for a key that stays."""

from datetime import timedelta
from typing import Any

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

    def handle(self, *args: Any, **options: Any) -> None:
        key = find_key(options["key"])
        if key.status != ApiKey.Status.ACTIVE:
            raise CommandError(f"{key} is {key.status.value}. Create a new one: create_api_key.")
        raw = key.rotate(options["overlap"])
        self.stdout.write(raw)
        until = key.previous_expires_at
        old = f"works until {until:%Y-%m-%d %H:%M %Z}" if until else "no longer works"
        self.stderr.write(f"Rotated {key}. The old secret {old}. Keep the new one now.")
