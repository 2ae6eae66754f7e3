"""`manage.py broadcast_market_data`: sends market data from a terminal or a pipe to sockets."""

from realtime.broadcast import Broadcast, market_data_update
from realtime.management.publishing import SymbolCommand
from realtime.protocol import JsonObject


class Command(SymbolCommand):
    help = (
        "Publish market data of a symbol to all its subscribers. Without JSON, read "
        "JSON lines from standard input."
    )
    argument = "market_data"
    examples = """\
examples:
  python %(prog)s AAPL '{"price": 149.5, "volume": 1000000}'

standard input, one update per line, published as they arrive:
  echo '{"price": 149.5}' | python %(prog)s AAPL
  echo '{"symbol": "AAPL", "data": {"price": 149.5}}' | python %(prog)s

A refused line is reported on standard error, the others are published, and the exit code is 1.
"""

    def build(self, target: str, data: JsonObject) -> Broadcast:
        return market_data_update(target, data)
