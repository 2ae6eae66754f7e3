"""`manage.py asyncapi`: the WebSocket interface as an AsyncAPI document."""

import json
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.asyncapi import document


class Command(BaseCommand):
    help = (
        "Print the WebSocket interface as an AsyncAPI 3.0 document, for code generators and "
        "AsyncAPI Studio. A server has it at api/v1/asyncapi.json."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url", default="ws://localhost:8000", help="where the server is (%(default)s)"
        )

    def handle(self, *, url: str, **options: object) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:  # half of a pair of brackets
            parts = urlsplit("")
        if parts.scheme not in ("ws", "wss") or not parts.netloc or parts.query:
            raise CommandError("--url must be like wss://realtime.example.com")
        secure = parts.scheme == "wss"
        self.stdout.write(
            json.dumps(document(parts.netloc, parts.path.rstrip("/"), secure=secure), indent=2)
        )
