"""Connections that only listen: the URL asks for what other clients request by messages.

They are served as server-sent events, see realtime/sse.py.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import msgspec
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable

from realtime import protocol
from realtime.conf import conf
from realtime.consumers.alerts import AlertsConsumer
from realtime.consumers.base import RealtimeConsumer
from realtime.consumers.market_data import MarketDataConsumer
from realtime.consumers.predictions import PredictionsConsumer
from realtime.delivery.event_stream import parse_event_id
from realtime.delivery.heartbeat import Pings
from realtime.limits.policy import max_subscriptions
from realtime.protocol import CloseCode, ErrorCode, InvalidPosition, Position, ProtocolError
from realtime.session.requests import alert_streams, parse_streams
from realtime.session.url import stream_in_url
from realtime.streams import WILDCARD, Stream

# Limited, since every event names the position in each stream.
MAX_SYMBOLS: Final = 50
# The key in the scope under which the Peer is found.
PEER: Final = "one_way_peer"
_CREDENTIALS: Final = ("ticket", "token")


class Peer(Protocol):
    """The client of a connection that only listens."""

    # Set by the connection; called when the server is about to stop.
    on_shutdown: Callable[[], None] | None

    def begin(self, since: Mapping[str, Position]) -> None:
        """Set the client's position before the first message is sent."""


class OneWay(RealtimeConsumer):
    """The common part of the three endpoints."""

    transport = "sse"
    parameters: tuple[str, ...] = ("symbols", "since", "max_rate")

    async def __call__(
        self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        self._peer: Peer = scope[PEER]
        self._peer.on_shutdown = self._say_goodbye
        await super().__call__(scope, receive, send)

    async def require_auth(self) -> None:
        await self.refuse(
            ErrorCode.AUTH_REQUIRED,
            "anonymous clients are not served here; send Authorization, or ?ticket= in the URL",
        )

    async def wanted_streams(self) -> tuple[list[Stream], dict[str, Position]]:
        try:
            query = self._query()
            streams = self._streams(query)
            self._configure(query)
            since = self._since(query, [stream.symbol for stream in streams])
        except ProtocolError as exc:
            await self.refuse(exc.code, exc.message, CloseCode.NOT_FOUND)
        self._peer.begin(since)
        return streams, since

    def _query(self) -> dict[str, str]:
        """The parameters of the URL, each once; raises ProtocolError."""
        text = self.scope["query_string"].decode("latin-1")
        try:
            values = parse_qs(text, keep_blank_values=True, max_num_fields=20)
        except ValueError:
            raise _invalid("the URL has more than 20 parameters") from None
        for name in values:
            if name not in (*self.parameters, *_CREDENTIALS):
                known = ", ".join((*self.parameters, *_CREDENTIALS))
                raise _invalid(f"{name[:64]}: unknown parameter; known: {known}")
        return {name: each[-1] for name, each in values.items() if each[-1]}

    def _streams(self, query: Mapping[str, str]) -> list[Stream]:
        named = stream_in_url(self.channel, self.scope)
        symbols = [] if named is None else [named.symbol]
        symbols += [each.strip() for each in query.get("symbols", "").split(",") if each.strip()]
        if not symbols or WILDCARD in symbols:
            every = "* is for WebSockets; " if symbols else ""
            raise _invalid(
                f"symbols: {every}name them as in /sse/{self.channel}/AAPL or ?symbols=AAPL,MSFT"
            )
        streams = parse_streams(self.channel, symbols)
        most = min(MAX_SYMBOLS, max_subscriptions(self.identity))
        if len(streams) > most:
            reason = f"symbols: {len(streams)} of them; one connection may have {most}"
            raise ProtocolError(ErrorCode.SUBSCRIPTION_LIMIT, reason)
        return streams

    def _configure(self, query: Mapping[str, str]) -> None:
        """Apply the filters in the URL; raises ProtocolError."""
        text = query.get("max_rate")
        if text is None:
            return
        if not self.numbered:
            raise _invalid("max_rate: the channel layer of this server cannot limit rates")
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if not 0.001 <= rate <= 1000:
            raise _invalid("max_rate: updates per second and symbol, a number from 0.001 to 1000")
        self.max_rate = rate

    def _since(self, query: Mapping[str, str], names: Sequence[str]) -> dict[str, Position]:
        """The client's position: after a reconnect from its last event, else from the URL."""
        last = self._last_event_id()
        try:
            if last:
                found = parse_event_id(last, names)
                return {name: found[name] for name in names if name in found}
        except InvalidPosition:
            # A refused client would never reconnect; so this one is told that it is not recovered.
            return dict.fromkeys(names, protocol.UNKNOWN_POSITION)
        if "since" not in query:
            return {}
        try:
            found = parse_event_id(query["since"], names)
        except InvalidPosition as exc:
            raise _invalid(f"since: {exc}, or AAPL=h3J2x9aQ:17,MSFT=…") from None
        if len(names) > 1 and "=" not in query["since"] and self.channel != "alerts":
            raise _invalid("since: name the symbols: AAPL=h3J2x9aQ:17,MSFT=…")
        folded = {_fold(name, names): position for name, position in found.items()}
        unknown = [name for name in folded if name not in names]
        if unknown:
            raise _invalid(f"since: {unknown[0][:64]} is not among the symbols of this URL")
        return folded

    def _last_event_id(self) -> str:
        values = [value for name, value in self.scope["headers"] if name == b"last-event-id"]
        return values[-1].decode("latin-1").strip() if values else ""

    def beat(self, texts: Pings) -> None:
        """A client that cannot answer needs no heads: TCP loses no message on the way."""
        if not self.socket.outbox:
            self.socket.send(b"")

    def _say_goodbye(self) -> None:
        """The server stops: tell when to reconnect, and close after this connection's own delay."""
        if not self._welcomed:
            self.spawn(self._restart())
            return
        seconds = conf.REALTIME_DRAIN_SECONDS
        reconnect_in_ms = max(1, int(random.uniform(0, seconds) * 1000))
        self.send_message(protocol.ServerShutdown(reconnect_in_ms=reconnect_in_ms))
        self.timer("goodbye", random.uniform(0, seconds), self._restart)

    async def _restart(self) -> None:
        await self.end(CloseCode.SERVICE_RESTART, "server restarting")


class OneWayMarketData(OneWay, MarketDataConsumer):
    """`/sse/market-data/{symbol}`."""


class OneWayPredictions(OneWay, PredictionsConsumer):
    """`/sse/predictions/{symbol}`."""


class OneWayAlerts(OneWay, AlertsConsumer):
    """`/sse/alerts`: `min_severity` and `symbols` are those of `configure_alerts`."""

    parameters = ("symbols", "since", "min_severity")

    def _streams(self, query: Mapping[str, str]) -> list[Stream]:
        return alert_streams(self.identity)

    def _configure(self, query: Mapping[str, str]) -> None:
        if not query.keys() & {"min_severity", "symbols"}:
            return
        if not self.numbered:
            raise _invalid("min_severity, symbols: the channel layer of this server cannot filter")
        severity = query.get("min_severity")
        if severity not in (None, *protocol.SEVERITIES):
            raise _invalid(f"min_severity: must be one of {', '.join(protocol.SEVERITIES)}")
        symbols = None
        if "symbols" in query:
            named = [each.strip() for each in query["symbols"].split(",") if each.strip()]
            symbols = [stream.symbol for stream in parse_streams("market-data", named)]
        config = {"min_severity": severity, "symbols": symbols}
        try:
            self.config = msgspec.convert(config, protocol.AlertConfig)
        except msgspec.ValidationError as exc:
            raise _invalid(f"symbols: {exc}") from None


def _fold(name: str, names: Sequence[str]) -> str:
    return name if name in names else name.upper()


def _invalid(reason: str) -> ProtocolError:
    return ProtocolError(ErrorCode.INVALID_MESSAGE, reason)
