"""`manage.py broadcast_prediction`: predictions from a terminal or a pipe to the sockets."""

from realtime.broadcast import Broadcast, prediction_update
from realtime.management.json_lines import JsonObject
from realtime.management.publishing import SymbolCommand


class Command(SymbolCommand):
    help = (
        "Publish a prediction for a symbol to everybody who is subscribed to it. Without JSON, "
        "read JSON lines from standard input."
    )
    argument = "prediction_data"
    examples = """\
examples:
  python %(prog)s AAPL '{"predicted_price": 150.25, "confidence": 0.85}'

standard input, one update a line, published as they come:
  echo '{"predicted_price": 150.25}' | python %(prog)s AAPL
  echo '{"symbol": "AAPL", "data": {"predicted_price": 150.25}}' | python %(prog)s

A line that is refused is named on standard error, the others are published, and the exit code is 1.
"""

    def build(self, target: str, data: JsonObject) -> Broadcast:
        return prediction_update(target, data)
