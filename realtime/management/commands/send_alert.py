"""`manage.py send_alert`: sends alerts from a terminal or a pipe, to everybody or to one user."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from realtime.broadcast import Broadcast, alert_update
from realtime.management.keys import utf8
from realtime.management.publishing import PublishCommand
from realtime.protocol import JsonObject
from realtime.users import InvalidUserId, UserId, has_numbers, read_user_id, user_id_of


class Command(PublishCommand):
    help = (
        "Send an alert to all users on /ws/alerts, or to the sockets of one user. Without JSON, "
        "read JSON lines from standard input."
    )
    argument = "alert_data"
    examples = """\
examples:
  python %(prog)s '{"message": "Price exceeded $150", "symbol": "AAPL", "severity": "high"}'
  python %(prog)s '{"message": "Your order was filled"}' --user alice

standard input, the data of one alert per line, all of them to --user if that is given:
  echo '{"message": "Market closed", "severity": "low"}' | python %(prog)s

A refused line is reported on standard error, the others are sent, and the exit code is 1.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--user",
            type=utf8,
            metavar="ID_OR_USERNAME",
            help="send to this user's sockets only; digits, or a UUID, are an ID",
        )

    def line_format(self, options: dict[str, object]) -> str:
        return "the data of an alert, a JSON object"

    def target(self, options: dict[str, object]) -> UserId | None:
        text = options["user"]
        if not isinstance(text, str):
            return None
        try:
            return user_id_of(_find_user(text).pk)
        except (get_user_model().DoesNotExist, InvalidUserId):
            what = "ID" if has_numbers() and text.isdecimal() else "username"
            raise CommandError(f"--user: no user has the {what} {text!r}") from None
        except DatabaseError as exc:
            raise CommandError(f"--user: the database did not answer: {exc}") from exc

    def build(self, target: UserId | None, data: JsonObject) -> Broadcast:
        return alert_update(data, target)


def _find_user(text: str) -> Any:
    users: Any = get_user_model()._default_manager
    if has_numbers():
        by_id = text.isdecimal()
        return users.get(pk=read_user_id(text)) if by_id else users.get_by_natural_key(text)
    # A user name may look like a primary key, and a primary key like a name.
    try:
        found = users.filter(pk=read_user_id(text)).first()
    except InvalidUserId:
        found = None
    return found or users.get_by_natural_key(text)
