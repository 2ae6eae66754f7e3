"""Updates for tests, as short as they can be written."""

from typing import Any

from realtime.delivery.updates import Update
from realtime.protocol import alert_body, market_data_body
from realtime.streams import ALERTS_ALL, Stream

AAPL = Stream("market-data", "AAPL")
MSFT = Stream("market-data", "MSFT")
EVERY = Stream("market-data", "*")


def price(offset: int, stream: Stream = AAPL, *, epoch: str = "E", **data: Any) -> Update:
    """An update of a price; its number is its offset, so that texts tell what arrived."""
    body = market_data_body(stream.symbol, {"price": offset, **data})
    return Update(stream, epoch, offset, body)


def alert(offset: int, *, epoch: str = "E", **data: Any) -> Update:
    """An alert for everybody."""
    return Update(ALERTS_ALL, epoch, offset, alert_body(f"alert-{offset}", "all", data))
