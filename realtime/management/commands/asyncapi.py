"""`manage.py asyncapi`: the WebSocket interface as an AsyncAPI document."""

import json
from typing import Any
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

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            url = urlsplit(options["url"])
        except ValueError:  # half of a pair of brackets
            url = urlsplit("")
        if url.scheme not in ("ws", "wss") or not url.netloc or url.query:
            raise CommandError("--url must be like wss://realtime.example.com")
        secure = url.scheme == "wss"
        self.stdout.write(
            json.dumps(document(url.netloc, url.path.rstrip("/"), secure=secure), indent=2)
        )
