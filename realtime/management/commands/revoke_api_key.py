"""`manage.py revoke_api_key`: revokes keys."""

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from realtime.access.revocation import key_changed
from realtime.management.keys import find_key, utf8


class Command(BaseCommand):
    help = "Revoke API keys, for good. If one of them does not exist, none is revoked."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "keys", nargs="+", type=utf8, metavar="KEY", help="visible part: ara_k3f9a2bc"
        )

    def handle(self, *, keys: list[str], **options: object) -> None:
        found = [find_key(text) for text in keys]
        with transaction.atomic():
            for key in found:
                revoked = key.revoke()
                # Announced for a key revoked earlier, too: a process may have missed the
                # announcement.
                key_changed(key)
                self.stdout.write(f"{'Revoked' if revoked else 'Already revoked'}: {key}")
