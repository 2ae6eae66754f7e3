"""The common part of the publishing commands: JSON from an argument, or lines of stdin.

    manage.py broadcast_market_data AAPL '{"price": 149.5}'      one update
    quotes | manage.py broadcast_market_data                      one update a line, as they come

A command names its target (a symbol, a user) and builds the update; this module reads, publishes
and reports the result.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from django.core.management.base import (  # fmt: skip
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
)

from realtime import broadcast
from realtime.broadcast import Broadcast, InvalidUpdate, Publication, PublishFailed
from realtime.conf import conf
from realtime.delivery.totals import published_by
from realtime.management.json_lines import parse_line, parse_object, read_lines
from realtime.protocol import JsonObject
from realtime.streams import InvalidSymbol, parse_symbol

# Per byte of an update; JSON may spell one byte with six: \u0041.
_LONGEST_SPELLING: Final = 8
_INTERRUPTED: Final = 130  # the exit code that shells expect after Ctrl-C


class _HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, and examples as they were written."""


class PublishCommand(BaseCommand):
    """A command that publishes one JSON argument, or JSON lines from standard input.

    Exit code 0: every update was published, and alerts stored for users who are away. 1: some were
    not; standard error names them.
    """

    # Checks import every view and serializer of the project, none of which these commands use.
    requires_system_checks: list[str] = []
    # The broadcast function's name for its data; on the command line it is called `data`.
    argument: ClassVar[str]
    examples: ClassVar[str]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = _HelpFormatter
        parser.epilog = self.examples
        parser.add_argument(
            "json", nargs="?", metavar="JSON", help="the data, a JSON object (default: stdin)"
        )

    def line_format(self, options: dict[str, object]) -> str:
        """What one line of standard input holds, for messages."""
        raise NotImplementedError

    def target(self, options: dict[str, object]) -> object:
        """The symbol or user of the arguments, None without; raises CommandError."""
        raise NotImplementedError

    def build(self, target: Any, data: JsonObject) -> Broadcast:
        """The update for a target; raises InvalidUpdate with `argument` in its field."""
        raise NotImplementedError

    def update(self, target: object, data: JsonObject) -> Broadcast:
        """The update that a JSON argument asks for; InvalidUpdate has `data` in its field."""
        try:
            return self.build(target, data)
        except InvalidUpdate as exc:
            if not exc.field.startswith(self.argument):
                raise
            raise InvalidUpdate("data" + exc.field.removeprefix(self.argument), exc.reason) from exc

    def line_update(self, target: Any, line: JsonObject) -> Broadcast:
        """The update that a line of standard input asks for; raises InvalidUpdate."""
        return self.update(target, line)

    def publish(self, updates: Sequence[Broadcast]) -> list[Publication]:
        """Publish checked updates; raises PublishFailed."""
        return broadcast.broadcast_many(updates)

    def handle(self, *, json: str | None, **options: object) -> None:
        if not broadcast.reaches_other_processes():
            raise CommandError(
                "CHANNEL_LAYERS lives in this process only: no client would receive the update. "
                "Use realtime.delivery.layers.RedisStreamLayer."
            )
        target = self.target(options)
        with published_by("command"):
            if json is None:
                self._publish_lines(target, options)
            else:
                self._publish_argument(target, json)

    def _publish_argument(self, target: object, text: str) -> None:
        try:
            publications = self.publish([self.update(target, parse_object(text))])
        except InvalidUpdate as exc:
            raise CommandError(str(exc)) from exc
        except PublishFailed as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(_told(publications[0]))
        for name, reason in publications[0].warnings.items():
            self.stderr.write(f"data.{name}: {reason}")
        if publications[0].stored is False:
            raise CommandError("It was sent, but not stored for users who are away.")

    def _publish_lines(self, target: object, options: dict[str, object]) -> None:
        if sys.stdin is None:
            raise CommandError("no JSON argument, and standard input is closed")
        tally = _Tally()
        try:
            if sys.stdin.isatty():
                self.stderr.write(
                    f"Reading from the terminal, one update per line: {self.line_format(options)} "
                    "(Ctrl-D ends, --help has examples)",
                    str,  # as it is: red is for what went wrong
                )
            for lines in read_lines(sys.stdin.fileno(), _longest_line()):
                self._publish_batch(target, lines, tally)
        except KeyboardInterrupt:
            self.stderr.write(f"Interrupted. {tally}.")
            sys.exit(_INTERRUPTED)
        if tally.refused or tally.unstored:
            raise CommandError(f"{tally}; the errors are listed above.")
        self.stdout.write(f"{tally}.")

    def _publish_batch(self, target: object, lines: list[bytes], tally: "_Tally") -> None:
        """Publish the good lines, report the others; raises CommandError if that fails."""
        updates: dict[int, Broadcast] = {}
        for line in lines:
            tally.line += 1
            if not line.strip():
                continue
            try:
                updates[tally.line] = self.line_update(target, parse_line(line, _longest_line()))
            except InvalidUpdate as exc:
                tally.refused += 1
                self.stderr.write(f"line {tally.line}: {exc}")
        try:
            publications = self.publish(list(updates.values()))
        except PublishFailed as exc:
            tally.published += len(exc.published)
            lost = [line for index, line in enumerate(updates) if index not in exc.published]
            raise CommandError(f"{exc} Stopped at line {lost[0]}; {tally}.") from exc
        tally.published += len(updates)
        tally.unstored += sum(each.stored is False for each in publications)
        tally.doubtful += sum(bool(each.warnings) for each in publications)


class SymbolCommand(PublishCommand):
    """A command whose updates are about a symbol: an argument, or a field of each line."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "symbol", nargs="?", metavar="SYMBOL", help="AAPL, BRK.B, BTC/USD, ^GSPC, ..."
        )
        super().add_arguments(parser)

    def line_format(self, options: dict[str, object]) -> str:
        if options["symbol"] is None:
            return '{"symbol": "AAPL", "data": {...}}'
        return f"the data of {options['symbol']}, a JSON object"

    def target(self, options: dict[str, object]) -> str | None:
        if options["symbol"] is None:
            return None
        try:
            return parse_symbol(options["symbol"])
        except InvalidSymbol as exc:
            raise CommandError(f"SYMBOL: {exc.reason}") from exc

    def line_update(self, target: str | None, line: JsonObject) -> Broadcast:
        if target is not None:
            return self.update(target, line)
        for field in line:
            if field not in ("symbol", "data"):
                raise InvalidUpdate(field, "unknown; without SYMBOL a line has symbol and data")
        for field in ("symbol", "data"):
            if field not in line:
                raise InvalidUpdate(field, "missing; without SYMBOL a line has symbol and data")
        return self.update(line["symbol"], line["data"])


class _Tally:
    """How far standard input has come."""

    def __init__(self) -> None:
        self.line = 0
        self.published = 0
        self.refused = 0
        self.unstored = 0  # alerts that were sent, for those who are connected
        self.doubtful = 0  # updates with a warning, which the log has

    def __str__(self) -> str:
        plural = "" if self.published == 1 else "s"
        refused = f", {self.refused} of {self.line} lines refused" if self.refused else ""
        unstored = f", {self.unstored} sent and not stored" if self.unstored else ""
        doubtful = f", {self.doubtful} with a warning" if self.doubtful else ""
        return f"{self.published} update{plural} published{refused}{unstored}{doubtful}"


def _longest_line() -> int:
    longest: int = _LONGEST_SPELLING * conf.REALTIME_MAX_MESSAGE_BYTES
    return longest


def _told(publication: Publication) -> str:
    """`market-data AAPL: offset 17, received by 2 processes`: servers and workers."""
    name = f"{publication.stream.channel} {publication.stream.symbol}"
    if publication.offset is None:
        return f"{name}: sent"  # a channel layer that numbers nothing
    if not publication.receivers:
        return f"{name}: offset {publication.offset}, kept for later; there are no subscribers now"
    processes = "process" if publication.receivers == 1 else "processes"
    return f"{name}: offset {publication.offset}, received by {publication.receivers} {processes}"
