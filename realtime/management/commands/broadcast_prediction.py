"""`manage.py broadcast_prediction`: sends predictions from a terminal or a pipe to sockets."""

from collections.abc import Sequence

from django.core.management.base import CommandError, CommandParser
from django.db import Error as DatabaseError

from realtime.broadcast import Broadcast, Publication, prediction_update
from realtime.management.publishing import SymbolCommand
from realtime.predictions.storage import check_prediction, store_checked
from realtime.protocol import JsonObject, update_data


class Command(SymbolCommand):
    help = (
        "Publish a prediction for a symbol to all its subscribers. Without JSON, "
        "read JSON lines from standard input."
    )
    argument = "prediction_data"
    examples = """\
examples:
  python %(prog)s AAPL '{"predicted_price": 150.25, "confidence": 0.85}'

standard input, one update per line, published as they arrive:
  echo '{"predicted_price": 150.25}' | python %(prog)s AAPL
  echo '{"symbol": "AAPL", "data": {"predicted_price": 150.25}}' | python %(prog)s

stored as well, so that it has an outcome, one or many:
  python %(prog)s --record AAPL '{"predicted_price": 150.25, "horizon": 5, "model": "mine"}'
  echo '{"symbol": "AAPL", "data": {"predicted_price": 150.25}}' | python %(prog)s --record

A refused line is reported on standard error, the others are published, and the exit code is 1.
"""

    recording = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--record",
            action="store_true",
            help="also store it, so that it gets an id and an outcome",
        )

    def handle(self, *, json: str | None, **options: object) -> None:
        self.recording = bool(options["record"])
        try:
            super().handle(json=json, **options)
        except DatabaseError as exc:
            raise CommandError(f"the database: {exc}; is it migrated?") from exc

    def build(self, target: str, data: JsonObject) -> Broadcast:
        if self.recording:
            check_prediction(target, data)
        return prediction_update(target, data)

    def publish(self, updates: Sequence[Broadcast]) -> list[Publication]:
        if self.recording:
            given = [(each.stream.symbol, update_data(each.body)) for each in updates]
            checked = [check_prediction(symbol, data) for symbol, data in given]
            updates = [
                prediction_update(each.row.symbol, each.data) for each in store_checked(checked)
            ]
        return super().publish(updates)
