"""`manage.py list_api_keys`: a table for people, JSON for programs."""

from datetime import datetime
from json import dumps

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser

from realtime.management.keys import as_json, utf8
from realtime.models import ApiKey

_COLUMNS = ("KEY", "NAME", "OWNER", "STATUS", "SCOPES", "EXPIRES", "LAST USED")


class Command(BaseCommand):
    help = "List API keys, the newest first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--owner", type=utf8, help="only the keys of this user")
        parser.add_argument("--status", choices=ApiKey.Status.values, help="only these")
        parser.add_argument(
            "--json", action="store_true", help="print a JSON list with all properties"
        )

    def handle(
        self, *, owner: str | None, status: str | None, json: bool, **options: object
    ) -> None:
        keys = ApiKey.objects.get_queryset().select_related("owner")
        if owner:
            keys = keys.filter(**{f"owner__{get_user_model().USERNAME_FIELD}": owner})
        if status:
            keys = getattr(keys, status)()
        if json:
            self.stdout.write(dumps([as_json(key) for key in keys], indent=2))
            return
        rows = [_COLUMNS, *(_row(key) for key in keys)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())


def _row(key: ApiKey) -> tuple[str, ...]:
    scopes = [
        f"{scope}({','.join(key.symbols[scope])})" if scope in key.symbols else scope
        for scope in key.scopes
    ]
    return (
        key.visible,
        key.name,
        key.owner.get_username(),
        key.status.value,
        " ".join(scopes),
        _time(key.expires_at),
        _time(key.last_used_at),
    )


def _time(moment: datetime | None) -> str:
    return "never" if moment is None else f"{moment:%Y-%m-%d %H:%M}Z"
