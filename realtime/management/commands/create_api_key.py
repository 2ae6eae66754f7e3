"""`manage.py create_api_key`: creates a key from a terminal or a deployment script."""

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.management.keys import as_json, explain, moment, symbols, utf8
from realtime.models import KEY_LIMITS, ApiKey
from realtime.scopes import SCOPES
from realtime.streams import CHANNELS


class Command(BaseCommand):
    help = "Create an API key and print it: it is not stored, and cannot be printed again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("owner", type=utf8, help="user name of the owner")
        parser.add_argument("name", help="the program or person that uses the key")
        parser.add_argument(
            "--scope", action="append", choices=SCOPES, dest="scopes",
            help="a scope of the key; may be repeated (default: receive all channels)",
        )  # fmt: skip
        parser.add_argument(
            "--symbols", action="append", type=symbols, default=[], metavar="SCOPE=PATTERN,…",
            help="limit a scope to symbols: market-data=BTC*,ETH-USD",
        )  # fmt: skip
        parser.add_argument(
            "--origin", action="append", default=[], dest="origins",
            help="web page that may use it: https://app.example.com",
        )  # fmt: skip
        parser.add_argument(
            "--expires", type=moment, metavar="TIME", help="2030-01-31, or 30d from now"
        )
        for name in KEY_LIMITS:
            parser.add_argument(
                f"--{name.replace('_', '-')}", type=int, default=0, metavar="N",
                help="limit of this key; 0: the server's limit (default)",
            )  # fmt: skip
        parser.add_argument(
            "--json",
            action="store_true",
            help="print a JSON object with the key, as `secret`, and its properties",
        )

    def handle(self, *args: object, **options: Any) -> None:
        users = get_user_model()._default_manager
        owner = users.filter(**{get_user_model().USERNAME_FIELD: options["owner"]}).first()
        if owner is None:
            raise CommandError(
                f"There is no user {options['owner']!r}. Create one in the admin, "
                "or with createsuperuser."
            )
        try:
            key, raw = ApiKey.objects.create_key(
                owner,
                options["name"],
                scopes=options["scopes"] or CHANNELS,
                symbols=dict(options["symbols"]),
                allowed_origins=options["origins"],
                expires_at=options["expires"],
                **{name: options[name] for name in KEY_LIMITS},
            )
        except ValidationError as exc:
            raise CommandError(explain(exc)) from exc
        if options["json"]:
            self.stdout.write(json.dumps({**as_json(key), "secret": raw}))
            return
        # Only the key goes to standard output: KEY=$(manage.py create_api_key …)
        self.stdout.write(raw)
        self.stderr.write(f"Created {key} of {owner}. Keep it now: it is not shown again.")
        if key.publish_granted:
            self.stderr.write(f"{owner} may not publish; the key may, by itself.")
        if key.metrics_granted:
            self.stderr.write(f"{owner} may not read metrics; the key may, by itself.")
