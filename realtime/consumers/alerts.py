"""Alerts for everybody and for the user, filtered as the client configures."""

from typing import Any

from realtime import protocol
from realtime.consumers.base import RealtimeConsumer
from realtime.delivery.readers import AlertFilter
from realtime.delivery.updates import Reader
from realtime.protocol import ErrorCode, Position, ProtocolError
from realtime.session.subscriptions import Change, alert_streams, parse_streams
from realtime.streams import WILDCARD, Stream


class AlertsConsumer(RealtimeConsumer):
    """`/ws/alerts`: alerts for everybody, and for the user of the credential."""

    channel = "alerts"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config = protocol.AlertConfig()

    async def wanted_streams(self) -> tuple[list[Stream], dict[str, Position]]:
        return alert_streams(self.identity), {}

    async def became_known(self) -> None:
        mine = [stream for stream in alert_streams(self.identity) if stream.user_id is not None]
        if any(stream.symbol not in self.members.streams for stream in mine):
            await self.change(Change(mine), None)

    async def receive_other(self, message: protocol.AnyClientMessage) -> None:
        if isinstance(message, protocol.ConfigureAlerts):
            await self.in_turn(lambda: self._on_configure(message))
        elif isinstance(message, protocol.Ack):
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                "ack: this server keeps no inbox of alerts; missed ones are replayed by `since`",
                details={"field": "type"},
                id=message.id,
            )
        else:
            await super().receive_other(message)

    async def _on_configure(self, message: protocol.ConfigureAlerts) -> None:
        config = message.config
        for name in ("rules", "dry_run"):
            if getattr(config, name) is not None:
                raise ProtocolError(
                    ErrorCode.INVALID_MESSAGE,
                    f"config.{name}: this server has no alert engine; min_severity and symbols "
                    "choose among the alerts that it is given",
                    details={"field": f"config.{name}"},
                    id=message.id,
                )
        if not self.numbered:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                "config: the channel layer of this server cannot filter",
                details={"field": "config"},
                id=message.id,
            )
        if config.symbols is not None:
            streams = parse_streams("market-data", config.symbols, message.id)
            config.symbols = [stream.symbol for stream in streams]
        self.config = config
        self.members.read_again(self.make_reader)
        answer = protocol.AlertsConfigured(config=config, message="Alerts configured")
        self.send_message(protocol.answering(answer, message.id))

    def make_reader(self, stream: Stream, max_rate: float | None) -> Reader | None:
        symbols = self.config.symbols
        if symbols is not None and WILDCARD in symbols:
            symbols = None
        if self.config.min_severity is None and symbols is None:
            return None
        return AlertFilter(self.socket, self.config.min_severity, symbols)
