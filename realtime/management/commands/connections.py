"""`manage.py connections`: who is connected to all processes; also ends connections."""

import json as jsons
import os
from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from realtime.access.connection_search import ShownConnection, UnknownName, select, shown
from realtime.access.roll_call import MAX_REASON, MAX_ROWS, Roll, call_roll, end_connections
from realtime.access.roster import SORTS, Order, Selection
from realtime.connections import StatisticsUnavailable
from realtime.delivery.publisher import BackendUnavailable
from realtime.management.keys import utf8
from realtime.streams import CHANNELS

_COLUMNS = (
    "ID", "USER", "CREDENTIAL", "ADDRESS", "CHANNEL", "SYMBOLS", "SINCE",
    "RTT MS", "SENT", "FOLDED", "WAITING", "PROCESS",
)  # fmt: skip


class Command(BaseCommand):
    help = (
        "List the open connections of all server processes, WebSockets and server-sent events. "
        "With --disconnect ID, end one; with --disconnect --user NAME or --key KEY, all of a user "
        "or a key. Clients are closed with 4409, and ours do not come back by themselves. To keep "
        "a client out, revoke its key or deactivate its user."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", type=utf8, help="only those of this user")
        parser.add_argument(
            "--key", type=utf8, help="only those of this API key, by its visible part: ara_k3f9a2bc"
        )
        parser.add_argument("--channel", choices=CHANNELS, help="only those of this channel")
        parser.add_argument(
            "--search",
            type=utf8,
            default="",
            help="only those with all of these words: in user, address, symbols, id or key",
        )
        parser.add_argument(
            "--sort",
            choices=list(SORTS),
            metavar="COLUMN",
            default="since",
            help=f"{', '.join(SORTS)} (default: since)",
        )
        parser.add_argument("--reverse", action="store_true", help="begin with the largest")
        parser.add_argument(
            "--limit", type=int, default=100, help=f"rows, 1 to {MAX_ROWS} (default: 100)"
        )
        parser.add_argument("--json", action="store_true", help="print JSON with all properties")
        parser.add_argument(
            "--disconnect",
            nargs="?",
            const="",
            metavar="ID",
            help="end this connection; without ID, those of --user or --key",
        )
        parser.add_argument(
            "--reason", type=utf8, default="", help="with --disconnect: what clients are told"
        )

    def handle(self, *args: object, **options: Any) -> None:
        _check(**options)
        disconnect: str | None = options["disconnect"]
        names = ("user", "key", "channel", "search")
        try:
            selection = select(id=disconnect, **{name: options[name] for name in names})
            if disconnect is not None:
                self._end(selection, options["reason"], options["json"])
            else:
                order = Order(options["sort"], options["reverse"], options["limit"])
                self._list(async_to_sync(call_roll)(selection, order), options["json"])
        except UnknownName as exc:
            raise CommandError(f"--{exc.field}: {exc}") from exc
        except (ImproperlyConfigured, StatisticsUnavailable, BackendUnavailable) as exc:
            raise CommandError(str(exc)) from exc

    def _end(self, selection: Selection, reason: str, json: bool) -> None:
        operator = f"manage.py connections of {os.environ.get('USER', 'unknown')}"
        roll = async_to_sync(end_connections)(selection, reason, operator)
        if json:
            self.stdout.write(jsons.dumps({"ended": roll.count, "silent": roll.silent}, indent=2))
        else:
            self.stdout.write(f"{roll.count} ended.")
            self._name_silent(roll)
        if not roll.count and selection.id is not None:
            raise CommandError(f"There is no connection {selection.id}.")

    def _list(self, roll: Roll, json: bool) -> None:
        rows = shown(roll.rows)
        if json:
            body = {"count": roll.count, "connections": rows, "silent": roll.silent}
            self.stdout.write(jsons.dumps(body, indent=2))
            return
        table = [_COLUMNS, *map(_cells, rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS))]
        for row in table:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())
        if roll.count > len(rows):
            self.stdout.write(f"{len(rows)} of {roll.count}; --limit shows more.")
        self._name_silent(roll)

    def _name_silent(self, roll: Roll) -> None:
        if roll.silent:
            names = ", ".join(roll.silent)
            self.stderr.write(f"No answer in time, so these are not counted: {names}.")


def _check(
    disconnect: str | None,
    reason: str,
    limit: int,
    user: str | None,
    key: str | None,
    **options: object,
) -> None:
    if not 1 <= limit <= MAX_ROWS:
        raise CommandError(f"--limit: {limit} is not a number from 1 to {MAX_ROWS}.")
    if len(reason) > MAX_REASON:
        raise CommandError(f"--reason: {len(reason)} characters; the limit is {MAX_REASON}.")
    if reason and disconnect is None:
        raise CommandError("--reason is for --disconnect.")
    if disconnect == "" and not (user or key):
        raise CommandError("--disconnect: name a connection, or --user, or --key.")


def _cells(row: ShownConnection) -> tuple[str, ...]:
    more = row["symbol_count"] - len(row["symbols"])
    since = datetime.fromisoformat(row["since"])
    return (
        row["id"],
        row["user"] or "-",
        row["key"] or row["credential"],
        row["address"] or "-",
        row["channel"] if row["transport"] == "websocket" else f"{row['channel']} (sse)",
        ",".join(row["symbols"]) + (f" and {more} more" if more else "") or "-",
        f"{since:%Y-%m-%d %H:%M:%SZ}",
        "-" if row["rtt_ms"] is None else f"{row['rtt_ms']:.1f}",
        str(row["sent"]),
        str(row["folded"]),
        str(row["waiting_bytes"]),
        row["process"],
    )
