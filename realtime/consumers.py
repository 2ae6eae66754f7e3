"""The WebSocket consumers: one base, three small subclasses, one for paths that do not exist.

Ordinary Channels to the reader: a consumer accepts, joins the groups of its streams and answers
messages. With a channel layer of this project updates come to its socket directly; with any other
one they come as `stream.update` events, without offsets and resume.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.conf import settings

from realtime import protocol
from realtime.access.credentials import credential_from_token
from realtime.access.identity import Identity, InvalidCredential, aauthenticate
from realtime.access.origins import origin_allowed
from realtime.connections import connection_manager
from realtime.delivery.fanout import Start
from realtime.delivery.heartbeat import MAX_MISSED, Heartbeat, heartbeat
from realtime.delivery.layers import EXTENSION
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.readers import AlertFilter, RateLimitedReader, SocketReader
from realtime.delivery.sockets import Socket, open_socket
from realtime.delivery.updates import Reader
from realtime.predictions.predictors import PredictionFailed
from realtime.predictions.requests import predict
from realtime.protocol import CloseCode, ErrorCode, ProtocolError, StreamInfo
from realtime.streams import Channel, InvalidSymbol, Stream, parse_symbol
from realtime.subscriptions import Change, alert_streams, parse_streams, requested, to_leave
from realtime.version import VERSION

logger = logging.getLogger(__name__)

# Seconds that `connected` and `subscribed` wait for the channel layer. After that the socket is
# served without, and hears the rest when the layer is back.
JOIN_PATIENCE = 1.0
# Seconds between `token_expiring` and the close of a socket whose JWT is not renewed.
EXPIRY_GRACE = 25.0

SERVER_ID = uuid.uuid4().hex[:12]


class Closing(Exception):
    """Raised inside a handler when the socket has been told why, and closed."""


class RealtimeConsumer(AsyncJsonWebsocketConsumer):
    """What the three endpoints share: credentials, heartbeat, subscriptions, errors."""

    channel: ClassVar[Channel]

    socket: Socket
    identity: Identity

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection_id = uuid.uuid4().hex
        self.streams: dict[str, Stream] = {}
        self._readers: dict[str, Reader] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._changing: asyncio.Task[None] | None = None
        self._invalid: deque[float] = deque()
        self._predictions: deque[float] = deque()
        self._heartbeat: Heartbeat | None = None
        self._missed = 0
        self._pinged_at: float | None = None
        self._rtt: float | None = None
        self._replayed = 0
        self._counted = False
        self._ended = False
        self._numbered = False

    # The ASGI application ---------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        layer = cast(Any, get_channel_layer(self.channel_layer_alias))
        self.socket = open_socket(
            scope, send, settings.REALTIME_OUTBOX_BYTES, self._on_slow_consumer
        )
        self._numbered = layer is not None and EXTENSION in layer.extensions
        try:
            if self._numbered:
                await self._run(layer, scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._release()

    async def _run(self, layer: Any, scope: Any, receive: Any, send: Any) -> None:
        """One loop over what the client sends; what the layer sends comes by callback.

        The generic loop makes two tasks per event and a hop to a thread, for each socket.
        """
        self.scope = scope
        self.base_send = send
        self.channel_layer = layer
        self.channel_name = await layer.new_channel()
        layer.attach(self.channel_name, self._on_layer_event)
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass

    async def dispatch(self, message: Any) -> None:
        # As the base class, without closing old database connections for messages that touch no
        # database; what does touch it runs in database_sync_to_async, which looks after them.
        handler = getattr(self, get_handler_name(message), None)
        if handler is None:
            raise ValueError(f"No handler for message type {message['type']}")
        await handler(message)

    def _on_layer_event(self, message: Mapping[str, Any]) -> None:
        self._spawn(self.dispatch(message))

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            if not isinstance(exc, Closing | StopConsumer):
                logger.error("socket %s", self.connection_id, exc_info=exc)

    def _release(self) -> None:
        """Give back everything the socket held. Runs however the connection ended."""
        self._ended = True
        self.socket.close()
        if self._heartbeat is not None:
            self._heartbeat.remove(self)
        for timer in self._timers.values():
            timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        if self._numbered:
            for name, reader in self._readers.items():
                self.channel_layer.leave(self.streams[name], reader)
                if isinstance(reader, SocketReader):
                    reader.close()
            if hasattr(self, "channel_name"):
                self.channel_layer.detach(self.channel_name)
        self._readers.clear()
        if self._counted:
            self._counted = False
            connection_manager.closed(self.channel)

    # Connecting -------------------------------------------------------------------------------

    async def websocket_connect(self, message: Any) -> None:
        try:
            await self.connect()
        except Closing:
            pass
        except Exception:
            logger.exception("connecting socket %s failed", self.connection_id)
            await self.fail(
                ErrorCode.INTERNAL_ERROR, "the server failed; try again", CloseCode.INTERNAL_ERROR
            )

    async def connect(self) -> None:
        """Accept first: a refusal before the accept reaches a browser as 1006, without reason."""
        offered = self.scope.get("subprotocols") or ()
        await self.accept(protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None)
        self.identity = self.scope["auth"]
        if self.scope.get("auth_error"):
            await self.refuse(ErrorCode.INVALID_TOKEN, self.scope["auth_error"])
        if not origin_allowed(self.scope["headers"], self.identity):
            await self.refuse(
                ErrorCode.FORBIDDEN,
                "pages of this Origin may not connect (REALTIME_ALLOWED_ORIGINS)",
                CloseCode.FORBIDDEN,
            )
        streams, since = await self.wanted_streams()
        if not self.identity.is_authenticated and not settings.REALTIME_ALLOW_ANONYMOUS:
            # `auth` within this time goes on from here.
            self._timer("auth", settings.REALTIME_AUTH_TIMEOUT, self._auth_missing)
            return
        await self.welcome(streams, since)

    async def wanted_streams(self) -> tuple[list[Stream], dict[str, protocol.Position]]:
        """The streams that the URL names, and where it says the client stands in them."""
        text = self.scope["url_route"]["kwargs"].get("symbol")
        if not text:
            return [], {}
        try:
            stream = Stream(self.channel, parse_symbol(text))
        except InvalidSymbol as exc:
            await self.refuse(
                ErrorCode.INVALID_SYMBOL, f"{text[:64]!r}: {exc.reason}", CloseCode.NOT_FOUND
            )
        since = protocol.position_from_query(self.scope["query_string"])
        return [stream], {} if since is None else {stream.symbol: since}

    async def welcome(
        self, streams: Sequence[Stream], since: Mapping[str, protocol.Position]
    ) -> None:
        """Check the scope, join the groups, say `connected`, send the snapshots."""
        for stream in streams or [None]:
            symbol = None if stream is None or self.channel == "alerts" else stream.symbol
            if not self.identity.allows(self.channel, symbol):
                what = self.channel if symbol is None else f"{self.channel} of {symbol}"
                await self.refuse(
                    ErrorCode.FORBIDDEN,
                    f"your credential does not allow {what}",
                    CloseCode.FORBIDDEN,
                )
        self._counted = True
        connection_manager.opened(self.channel)
        self._watch_expiry()
        change = Change(streams, since=since)
        if await self._join_groups(change):
            self._apply(change, self._connected)
        else:
            self.socket.send(protocol.encode(self._connected({})))
            self._changing = self._spawn(self._join_later(change, None))
        self._heartbeat = heartbeat(settings.REALTIME_HEARTBEAT_INTERVAL)
        self._heartbeat.add(self)

    def _connected(self, infos: dict[str, StreamInfo]) -> protocol.Connected:
        message = protocol.Connected(
            channel=self.channel,
            symbols=self.symbols,
            connection_id=self.connection_id,
            message=f"Connected to {self.channel}",
            protocol=protocol.PROTOCOL_VERSION,
            heartbeat_interval=settings.REALTIME_HEARTBEAT_INTERVAL,
            authenticated=self.identity.is_authenticated,
            streams=infos,
        )
        if len(self.symbols) == 1:
            message.symbol = self.symbols[0]
        return message

    @property
    def symbols(self) -> list[str]:
        return list(self.streams)

    async def websocket_disconnect(self, message: Any) -> None:
        self._release()
        raise StopConsumer

    # Joining ----------------------------------------------------------------------------------
    # First the group, then the snapshot: a duplicate is harmless, a gap is not.

    async def _join_groups(self, change: Change, patience: float = JOIN_PATIENCE) -> bool:
        """Join the groups; True when every stream's position is known."""
        if not self._numbered:
            for stream in change.join:
                await self.channel_layer.group_add(stream.group, self.channel_name)
            return True
        try:
            async with asyncio.timeout(patience):
                for stream in change.join:
                    await self.channel_layer.group_add(stream.group, self.channel_name)
                for stream in change.join:
                    if not self.channel_layer.is_ready(stream, change.since):
                        await self.channel_layer.prepare(stream, change.since)
        except (TimeoutError, BackendUnavailable, OSError):
            return False
        return True

    async def _join_later(self, change: Change, id: str | int | None) -> None:
        """The layer is away: go on asking, and answer when it is back."""
        while not await self._join_groups(change, patience=60.0):
            await asyncio.sleep(0.2)
        self._apply(change, lambda infos: self._subscribed(protocol.Subscribed, infos, id))

    def _apply(
        self,
        change: Change,
        answer: Callable[[dict[str, StreamInfo]], protocol.ServerMessage],
    ) -> None:
        """Change the subscriptions, answer, send what was missed. Nothing awaits in here."""
        for stream in change.leave:
            self._leave(stream)
        starts: dict[str, Start] = {}
        for stream in change.join:
            if not self._numbered:
                self.streams[stream.symbol] = stream
                continue
            reader = self._reader(stream, change.max_rate)
            old = self._readers.get(stream.symbol)
            if old is not None:
                self.channel_layer.leave(stream, old)
                if isinstance(old, SocketReader) and old is not reader:
                    old.close()
            self.streams[stream.symbol] = stream
            self._readers[stream.symbol] = reader
            begun = self.channel_layer.start(stream, reader, change.since)
            if isinstance(reader, SocketReader):
                reader.heads.update({name: start.offset for name, start in begun.items()})
            starts.update(begun)
        infos = {name: _info(start) for name, start in starts.items()}
        self.socket.hold()
        self.socket.send(protocol.encode(answer(infos)))
        for start in starts.values():
            self._send_start(start)
        self.socket.release()

    def _send_start(self, start: Start) -> None:
        alerts = self.channel == "alerts"
        if start.recovered:
            self._replayed += len(start.updates)
            for update in start.updates:
                self.socket.send(update.replayed_text)
        elif not alerts:  # an old alert is no snapshot of anything
            for update in start.updates:
                self.socket.send(update.snapshot_text)

    def _reader(self, stream: Stream, max_rate: float | None) -> Reader:
        if max_rate is not None:
            return RateLimitedReader(self.socket, max_rate)
        # Below `*` the same reader: the fan-out tells by it that one delivery is enough.
        wildcard = None if stream.wildcard else self._readers.get("*")
        return wildcard or self.socket

    def _leave(self, stream: Stream) -> None:
        self.streams.pop(stream.symbol, None)
        reader = self._readers.pop(stream.symbol, None)
        if reader is not None:
            self.channel_layer.leave(stream, reader)
            if isinstance(reader, SocketReader) and reader not in self._readers.values():
                reader.close()
        self._spawn(self.channel_layer.group_discard(stream.group, self.channel_name))

    def _subscribed(
        self,
        kind: type[protocol.Subscribed],
        infos: dict[str, StreamInfo],
        id: str | int | None,
    ) -> protocol.Subscribed:
        message = kind(channel=self.channel, symbols=self.symbols, streams=infos)
        if len(self.symbols) == 1:
            message.symbol = self.symbols[0]
        if id is not None:
            message.id = id
        return message

    async def _in_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a change of subscriptions after the one before; do not hold up `pong` for it."""
        before = self._changing
        if before is None or before.done():
            await work()
            return

        async def later() -> None:
            await asyncio.wait([before])
            await self._guarded(work)

        self._changing = self._spawn(later())

    # Messages from the client -----------------------------------------------------------------

    async def websocket_receive(self, message: Any) -> None:
        text = message.get("text")
        if text is None:
            self.invalid(
                ProtocolError(
                    ErrorCode.INVALID_MESSAGE, "a binary frame; send JSON as a UTF-8 text frame"
                )
            )
            return
        if len(text) > settings.REALTIME_MAX_MESSAGE_BYTES:
            # uvicorn refuses these itself; other servers may have a higher limit.
            await self.end(CloseCode.MESSAGE_TOO_BIG, "message too big")
            return
        try:
            content = protocol.parse(text)
        except ProtocolError as exc:
            self.invalid(exc)
            return
        await self._guarded(lambda: self.receive_message(content))

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ProtocolError as exc:
            self.send_error(exc)
        except (Closing, StopConsumer):
            pass
        except Exception:
            logger.exception("socket %s", self.connection_id)
            self.send_error(
                ProtocolError(ErrorCode.INTERNAL_ERROR, "the server failed; try again", retry=True)
            )

    async def receive_message(self, message: protocol.AnyClientMessage) -> None:
        """Serve one message that is well-formed; raises ProtocolError."""
        if not self._counted and not isinstance(message, protocol.Auth):
            raise ProtocolError(
                ErrorCode.AUTH_REQUIRED,
                'anonymous sockets are not served here; send {"type":"auth","token":…} first',
                id=message.id,
            )
        match message:
            case protocol.Pong():
                self._on_pong()
            case protocol.Subscribe():
                await self._in_turn(lambda: self._on_subscribe(message))
            case protocol.Unsubscribe():
                await self._in_turn(lambda: self._on_unsubscribe(message))
            case protocol.Auth():
                await self._on_auth(message)
            case protocol.StatusRequest():
                self.socket.send(protocol.encode(self._status(message.id)))
            case _:
                await self.receive_other(message)

    async def receive_other(self, message: protocol.AnyClientMessage) -> None:
        """Messages that only some channels know."""
        kind = message.__struct_config__.tag
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"{kind} is not for {self.channel}",
            details={"field": "type"},
            id=message.id,
        )

    async def _on_subscribe(self, message: protocol.Subscribe) -> None:
        change = requested(
            self.channel, message, self.streams, self.identity, settings.REALTIME_MAX_SUBSCRIPTIONS
        )
        if not self._numbered and change.max_rate is not None:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                "max_rate: the channel layer of this server cannot limit rates",
                details={"field": "max_rate"},
                id=message.id,
            )
        if await self._join_groups(change):
            self._apply(
                change, lambda infos: self._subscribed(protocol.Subscribed, infos, message.id)
            )
        else:
            self._changing = self._spawn(self._join_later(change, message.id))

    async def _on_unsubscribe(self, message: protocol.Unsubscribe) -> None:
        for stream in to_leave(self.channel, message.symbols, self.streams, message.id):
            self._leave(stream)
        self.socket.send(
            protocol.encode(self._subscribed(protocol.Unsubscribed, self._positions(), message.id))
        )

    def _positions(self) -> dict[str, StreamInfo]:
        """Where this socket stands in each of its streams."""
        if not self._numbered:
            return {}
        states = self.channel_layer.local.fanout
        return {
            name: StreamInfo(epoch=states.state(stream).epoch, offset=offset)
            for name, stream in self.streams.items()
            if not stream.wildcard
            for offset in [self._head(name, states.state(stream).offset)]
        }

    # Credentials ------------------------------------------------------------------------------

    async def _on_auth(self, message: protocol.Auth) -> None:
        try:
            identity = await aauthenticate(credential_from_token(message.token, "message"))
        except InvalidCredential as exc:
            await self.refuse(ErrorCode.INVALID_TOKEN, str(exc), id=message.id)
        known = self.identity.is_authenticated
        if known and identity.user_id != self.identity.user_id:
            raise ProtocolError(
                ErrorCode.FORBIDDEN,
                "this socket belongs to another user; open a new one",
                id=message.id,
            )
        self.identity = identity
        self.scope["user"] = identity.user
        self.scope["auth"] = identity
        self._cancel("auth")
        if not self._counted:
            streams, since = await self.wanted_streams()
            await self.welcome(streams, since)
        else:
            self._watch_expiry()
            if not known:
                await self._in_turn(self.became_known)
        expires_at = identity.expires_at
        answer = protocol.Authenticated(
            expires_at=None if expires_at is None else protocol.timestamp(expires_at)
        )
        if message.id is not None:
            answer.id = message.id
        self.socket.send(protocol.encode(answer))

    async def became_known(self) -> None:
        """An anonymous socket has sent `auth`."""

    async def _auth_missing(self) -> None:
        await self.refuse(
            ErrorCode.AUTH_REQUIRED,
            f"no auth within {settings.REALTIME_AUTH_TIMEOUT:g} s, and anonymous sockets are not "
            "served here",
        )

    def _watch_expiry(self) -> None:
        expires_at = self.identity.expires_at
        self._cancel("expiry")
        if expires_at is None:
            return
        left = max(0.0, expires_at.timestamp() - time.time())
        if self.identity.kind == "jwt":
            self._timer("expiry", left, self._token_expired)
        else:
            self._timer("expiry", left, self._credential_ended)

    async def _token_expired(self) -> None:
        expires_at = self.identity.expires_at
        assert expires_at is not None
        self.socket.send(
            protocol.encode(protocol.TokenExpiring(expires_at=protocol.timestamp(expires_at)))
        )
        self._timer("expiry", EXPIRY_GRACE, self._credential_ended)

    async def _credential_ended(self) -> None:
        await self.refuse(
            ErrorCode.INVALID_TOKEN, "The credential has expired. Obtain a new one and reconnect."
        )

    # Heartbeat --------------------------------------------------------------------------------

    def beat(self, heads: dict[tuple[str, ...], bytes]) -> None:
        if self._missed >= MAX_MISSED:
            self._spawn(self.end(CloseCode.HEARTBEAT_TIMEOUT, "no pong"))
            return
        self._missed += 1
        self._pinged_at = time.monotonic()
        plain = all(reader is self.socket for reader in self._readers.values())
        key = tuple(stream.group for stream in self.streams.values())
        text = heads.get(key) if plain else None
        if text is None:
            text = protocol.encode(protocol.Ping(heads=self._heads()))
            if plain:
                heads[key] = text
        self.socket.send(text)

    def _heads(self) -> dict[str, int]:
        if not self._numbered:
            return {}
        heads: dict[str, int] = self.channel_layer.heads(tuple(self.streams.values()))
        return {name: self._head(name, offset) for name, offset in heads.items()}

    def _head(self, symbol: str, offset: int) -> int:
        """A reader that holds updates back knows the newest offset that it let through."""
        reader = self._readers.get(symbol) or self._readers.get("*")
        if isinstance(reader, SocketReader):
            return reader.heads.get(symbol, offset)
        return offset

    def _on_pong(self) -> None:
        self._missed = 0
        if self._pinged_at is not None:
            self._rtt = time.monotonic() - self._pinged_at
            self._pinged_at = None

    # Status -----------------------------------------------------------------------------------

    def _status(self, id: str | int | None) -> protocol.Status:
        identity = self.identity
        message = protocol.Status(
            channel=self.channel,
            connection_id=self.connection_id,
            symbols=self.symbols,
            streams=self._positions(),
            limits=self.limits(),
            counters={
                "sent": self.socket.sent,
                "folded": self.socket.outbox.folded,
                "replayed": self._replayed,
                "waiting_bytes": self.socket.outbox.size,
            },
            rtt_ms=None if self._rtt is None else round(self._rtt * 1000, 3),
            credential={
                "kind": identity.kind,
                "expires_at": None
                if identity.expires_at is None
                else protocol.timestamp(identity.expires_at),
            },
            server={"id": SERVER_ID, "version": VERSION},
        )
        if id is not None:
            message.id = id
        return message

    def limits(self) -> dict[str, Any]:
        """Each limit of this socket, and how much of it is left."""
        subscriptions = settings.REALTIME_MAX_SUBSCRIPTIONS
        invalid = settings.REALTIME_MAX_INVALID_PER_MINUTE
        return {
            "subscriptions": {"limit": subscriptions, "left": subscriptions - len(self.streams)},
            "invalid_messages": {
                "limit": invalid,
                "left": max(0, invalid - _recent(self._invalid)),
            },
            "outbox_bytes": {
                "limit": self.socket.outbox.limit,
                "left": max(0, self.socket.outbox.limit - self.socket.outbox.size),
            },
        }

    # Errors and the end -----------------------------------------------------------------------

    def send_error(self, error: ProtocolError) -> None:
        self.socket.send(protocol.encode(error.error()))

    def invalid(self, error: ProtocolError) -> None:
        """Answer a bad message. It does not close the socket; twenty in a minute do."""
        self.send_error(error)
        self._invalid.append(time.monotonic())
        if _recent(self._invalid) >= settings.REALTIME_MAX_INVALID_PER_MINUTE:
            self._spawn(self.end(CloseCode.BAD_REQUEST, "too many invalid messages"))

    async def refuse(
        self,
        code: ErrorCode,
        message: str,
        close: CloseCode = CloseCode.UNAUTHORIZED,
        id: str | int | None = None,
    ) -> None:
        """Say why, close, and end the handler: always raises Closing."""
        await self.fail(code, message, close, id)
        raise Closing

    async def fail(
        self, code: ErrorCode, message: str, close: CloseCode, id: str | int | None = None
    ) -> None:
        """Say why, and close."""
        retry = close < 4400 or close >= 4500
        self.send_error(ProtocolError(code, message, retry=retry, id=id))
        await self.end(close, message)

    async def end(self, code: CloseCode, reason: str) -> None:
        if not self._ended:
            self._ended = True
            # RFC 6455: a close frame has room for 123 bytes of reason.
            await self.socket.end(code, reason.encode()[:123].decode(errors="ignore"))

    def _on_slow_consumer(self) -> None:
        error = ProtocolError(
            ErrorCode.SLOW_CONSUMER,
            f"more than {self.socket.outbox.limit} bytes wait for you; read faster, subscribe to "
            "less, or set max_rate",
            retry=True,
        )
        self.socket.send_last(protocol.encode(error.error()))
        self._spawn(self.end(CloseCode.SLOW_CONSUMER, "slow consumer"))

    def _timer(self, name: str, delay: float, work: Callable[[], Awaitable[None]]) -> None:
        self._cancel(name)
        loop = asyncio.get_running_loop()
        # Python's timers take at most about a month; an expiry beyond that is looked at then.
        self._timers[name] = loop.call_later(
            min(delay, 2_000_000.0), lambda: self._spawn(self._guarded(work))
        )

    def _cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    # Events from the channel layer ------------------------------------------------------------

    async def stream_update(self, event: Mapping[str, Any]) -> None:
        """An update through a stock channel layer."""
        self.socket.send(event["text"].encode())


class PredictionsConsumer(RealtimeConsumer):
    """`/ws/predictions/{symbol}`."""

    channel = "predictions"

    async def receive_other(self, message: protocol.AnyClientMessage) -> None:
        if isinstance(message, protocol.RequestPrediction):
            self._on_request_prediction(message)
        else:
            await super().receive_other(message)

    def _on_request_prediction(self, message: protocol.RequestPrediction) -> None:
        symbol = self._requested_symbol(message)
        limit = settings.REALTIME_PREDICTIONS_PER_MINUTE
        if _recent(self._predictions) >= limit:
            wait = 60.0 - (time.monotonic() - self._predictions[0])
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"{limit} predictions a minute; wait {wait:.0f} s",
                retry=True,
                retry_after_ms=int(wait * 1000) + 1,
                id=message.id,
            )
        self._predictions.append(time.monotonic())
        request_id = uuid.uuid4().hex
        answer = protocol.PredictionRequested(
            symbol=symbol,
            request_id=request_id,
            status="processing",
            message=f"Prediction of {symbol} requested",
        )
        if message.id is not None:
            answer.id = message.id
        self.socket.send(protocol.encode(answer))
        self._spawn(self._guarded(lambda: self._predict(symbol, message, request_id)))

    def _requested_symbol(self, message: protocol.RequestPrediction) -> str:
        if message.symbol is not None:
            stream = parse_streams(self.channel, [message.symbol], message.id)[0]
            symbol = stream.symbol
            if stream.wildcard:
                raise ProtocolError(
                    ErrorCode.INVALID_SYMBOL,
                    "name one symbol",
                    details={"field": "symbol"},
                    id=message.id,
                )
        elif len(self.streams) == 1 and "*" not in self.streams:
            symbol = self.symbols[0]
        else:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                "symbol is missing, and this connection has not exactly one",
                details={"field": "symbol"},
                id=message.id,
            )
        if not self.identity.allows(self.channel, symbol):
            raise ProtocolError(
                ErrorCode.FORBIDDEN,
                f"your credential does not allow predictions of {symbol}",
                details={"field": "symbol"},
                id=message.id,
            )
        return symbol

    async def _predict(
        self, symbol: str, message: protocol.RequestPrediction, request_id: str
    ) -> None:
        try:
            prediction = await predict(symbol, message.horizon)
        except PredictionFailed as exc:
            raise ProtocolError(
                ErrorCode.PREDICTION_FAILED,
                str(exc),
                details={"symbol": symbol, "request_id": request_id},
                retry=True,
                id=message.id,
            ) from exc
        self.socket.send(
            protocol.encode(
                protocol.PredictionAnswer(
                    symbol=symbol, data=prediction.as_data(), request_id=request_id
                )
            )
        )

    def limits(self) -> dict[str, Any]:
        limit = settings.REALTIME_PREDICTIONS_PER_MINUTE
        left = max(0, limit - _recent(self._predictions))
        return {**super().limits(), "predictions_per_minute": {"limit": limit, "left": left}}


class MarketDataConsumer(RealtimeConsumer):
    """`/ws/market-data/{symbol}`."""

    channel = "market-data"


class AlertsConsumer(RealtimeConsumer):
    """`/ws/alerts`: alerts for everybody, and for the user of the credential."""

    channel = "alerts"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._config = protocol.AlertConfig()

    async def wanted_streams(self) -> tuple[list[Stream], dict[str, protocol.Position]]:
        return alert_streams(self.identity), {}

    async def became_known(self) -> None:
        change = Change([stream for stream in alert_streams(self.identity) if stream.user_id])
        if await self._join_groups(change):
            self._apply(change, lambda infos: self._subscribed(protocol.Subscribed, infos, None))
        else:
            self._changing = self._spawn(self._join_later(change, None))

    async def receive_other(self, message: protocol.AnyClientMessage) -> None:
        if isinstance(message, protocol.ConfigureAlerts):
            await self._in_turn(lambda: self._on_configure(message))
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
        if config.symbols is not None:
            streams = parse_streams("market-data", config.symbols, message.id)
            config.symbols = [stream.symbol for stream in streams]
        self._config = config
        self._refilter()
        answer = protocol.AlertsConfigured(config=config, message="Alerts configured")
        if message.id is not None:
            answer.id = message.id
        self.socket.send(protocol.encode(answer))

    def _refilter(self) -> None:
        """Put the readers that the configuration asks for in the place of the present ones."""
        for name, stream in self.streams.items():
            old = self._readers.get(name)
            if old is None:
                continue
            new = self._reader(stream, None)
            if isinstance(new, SocketReader):
                new.heads.update(self._heads())
            self.channel_layer.leave(stream, old)
            self._readers[name] = new
            self.channel_layer.local.fanout.join(stream, new)

    def _reader(self, stream: Stream, max_rate: float | None) -> Reader:
        symbols = self._config.symbols
        if symbols is not None and "*" in symbols:
            symbols = None
        if self._config.min_severity is None and symbols is None:
            return self.socket
        return AlertFilter(self.socket, self._config.min_severity, symbols)


class NotFoundConsumer(RealtimeConsumer):
    """Every other path: a browser cannot read a refused handshake, so accept and say it."""

    channel = "alerts"

    async def connect(self) -> None:
        await self.accept()
        await self.refuse(
            ErrorCode.INVALID_MESSAGE,
            "no such endpoint; there are /ws/predictions/{symbol}, /ws/market-data/{symbol} and "
            "/ws/alerts",
            CloseCode.NOT_FOUND,
        )


def _info(start: Start) -> StreamInfo:
    info = StreamInfo(epoch=start.epoch, offset=start.offset)
    if start.recovered is not None:
        info.recovered = start.recovered
        info.replayed = len(start.updates) if start.recovered else 0
    return info


def _recent(times: deque[float]) -> int:
    """How many of these moments lie within the last minute; forgets the others."""
    limit = time.monotonic() - 60.0
    while times and times[0] < limit:
        times.popleft()
    return len(times)
