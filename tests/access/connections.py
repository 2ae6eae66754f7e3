"""A connection without a socket."""

from realtime.access.identity import ANONYMOUS
from realtime.access.roster import ConnectionRow
from realtime.streams import Channel


class ListedConnection:
    """A connection as far as operators see it and end it."""

    channel: Channel = "alerts"
    identity = ANONYMOUS

    def __init__(self, number: int) -> None:
        self.connection_id = f"{number:032x}"
        self.number = number
        self.ended = ""

    def describe(self) -> ConnectionRow:
        return {
            "id": self.connection_id,
            "channel": self.channel,
            "transport": "websocket",
            "user": f"user{self.number}",
            "user_id": None,
            "key_id": None,
            "credential": "anonymous",
            "address": None,
            "symbols": [],
            "symbol_count": 0,
            "since": 0.0,
            "rtt_ms": None,
            "sent": self.number,
            "folded": 0,
            "replayed": 0,
            "waiting_bytes": 0,
            "process": "",
        }

    def end_by_operator(self, reason: str) -> None:
        self.ended = reason
