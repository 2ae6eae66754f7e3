"""What the three consumers share: credentials, subscriptions, heartbeat, status."""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NoReturn

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import DatabaseError

from realtime import protocol
from realtime.access.authentication import InvalidCredential, aauthenticate
from realtime.access.credentials import credential_from_token
from realtime.access.identity import Identity
from realtime.access.limits import (
    RETRY_AFTER_MS,
    Refusal,
    check_handshakes,
    client_address,
    connection_limits,
    keep_slot,
    max_subscriptions,
    message_rate,
    take_slot,
)
from realtime.access.live import (
    EVICT,
    GROUP,
    LiveSockets,
    concerns,
    forget_announced,
    live_sockets,
    recheck,
)
from realtime.access.origins import origin_allowed
from realtime.access.tickets import TicketsUnavailable
from realtime.connections import TALLIED, connection_manager
from realtime.delivery.heartbeat import Heartbeat, heartbeat
from realtime.delivery.readers import RateLimitedReader
from realtime.delivery.updates import Reader
from realtime.protocol import CloseCode, ErrorCode, Position, ProtocolError, StreamInfo
from realtime.session.allowance import TokenBucket
from realtime.session.lifecycle import SocketConsumer
from realtime.session.membership import Membership
from realtime.session.pulse import Pulse
from realtime.session.subscriptions import (
    Change,
    requested,
    to_leave,
)
from realtime.streams import Channel, InvalidSymbol, Stream, parse_symbol
from realtime.version import VERSION

logger = logging.getLogger(__name__)

# Seconds that `connected` and `subscribed` wait for the channel layer. After that the socket is
# served without, and hears the rest when the layer is back.
JOIN_PATIENCE: Final = 1.0
# Seconds between `token_expiring` and the close of a socket whose JWT is not renewed.
EXPIRY_GRACE: Final = 25.0
# With the policy `close_oldest`: how many are asked to go for one newcomer, and for how long each.
MAX_EVICTIONS: Final = 5
EVICTION_SECONDS: Final = 0.1
# How many symbols of one `subscribe` or `unsubscribe` count as one message.
SYMBOLS_PER_MESSAGE: Final = 10
# Seconds for which nothing is read from a socket that has sent too much.
MAX_PAUSE: Final = 1.0
# Seconds after which every process has counted the sockets of a key whose limit was changed.
COUNT_SECONDS: Final = 1.0
SERVER_ID: Final = uuid.uuid4().hex[:12]


class RealtimeConsumer(SocketConsumer):
    """What the three endpoints share: credentials, subscriptions, heartbeat, status."""

    channel: ClassVar[Channel]

    identity: Identity
    members: Membership
    rate: TokenBucket

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection_id = f"{random.getrandbits(128):032x}"
        self.pulse = Pulse()
        self._welcomed = False
        self._changing: asyncio.Task[None] | None = None
        self._heartbeat: Heartbeat | None = None
        self._live: LiveSockets | None = None
        self._slots: tuple[str, ...] = ()

    def release(self) -> None:
        if self._live is not None:
            self._live.remove(self)
            self._live = None
        if self._slots:
            self.channel_layer.free_slot(self.connection_id, self._slots)
            self._slots = ()
        if self._heartbeat is not None:
            self._heartbeat.remove(self)
            self._heartbeat = None
        if self._welcomed:
            self._welcomed = False
            connection_manager.closed(self.channel, self.identity.key_id, self.tally())
            self.members.close()
        super().release()

    async def websocket_disconnect(self, message: Any) -> None:
        if self._welcomed and not self.numbered:
            # `detach` does this where the layer has it.
            await self.members.leave(list(self.members.streams.values()))
            await self.channel_layer.group_discard(GROUP, self.channel_name)
        await super().websocket_disconnect(message)

    # Connecting -------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Accept first: a refusal before the accept reaches a browser as 1006, without reason."""
        offered = self.scope.get("subprotocols") or ()
        await self.accept(protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None)
        self.identity = self.scope["auth"]
        self.rate = TokenBucket(*message_rate(self.identity))
        if self.scope["auth_error"]:
            await self.refuse(ErrorCode.INVALID_TOKEN, self.scope["auth_error"])
        if self.scope["auth_unavailable"]:
            await self._refuse_unchecked()
        await self._check_origin()
        await self._check_handshakes()
        streams, since = await self.wanted_streams()
        if not self.identity.is_authenticated and not settings.REALTIME_ALLOW_ANONYMOUS:
            # `auth` within this time goes on from here.
            self.timer("auth", settings.REALTIME_AUTH_TIMEOUT, self._auth_missing)
            return
        await self.welcome(streams, since)

    async def wanted_streams(self) -> tuple[list[Stream], dict[str, Position]]:
        """The streams that the URL names, and where it says the client stands in them."""
        text = _symbol_in_path(self.scope)
        if text is None:
            return [], {}
        try:
            stream = Stream(self.channel, parse_symbol(text))
        except InvalidSymbol as exc:
            await self.refuse(
                ErrorCode.INVALID_SYMBOL, f"{text[:64]!r}: {exc.reason}", CloseCode.NOT_FOUND
            )
        return [stream], self.position_in_url(stream)

    def position_in_url(self, stream: Stream) -> dict[str, Position]:
        """`?epoch=&offset=`, which is for this stream."""
        try:
            position = protocol.position_from_query(self.scope["query_string"])
        except ProtocolError:
            position = protocol.UNKNOWN_POSITION  # `welcome` says what is wrong
        return {} if position is None else {stream.symbol: position}

    async def welcome(self, streams: Sequence[Stream], since: Mapping[str, Position]) -> None:
        """Check the scope, join the groups, say `connected`, send the snapshots."""
        await self._check_scope(streams)
        await self._take_slot()
        self._welcomed = True
        connection_manager.opened(self.channel, self.identity.key_id)
        self.members = Membership(
            self.channel_layer, self.channel_name, self.socket, numbered=self.numbered
        )
        self._watch_expiry()
        if self.numbered:
            self._live = live_sockets(self.channel_layer)
            self._live.add(self)
        else:
            await self.channel_layer.group_add(GROUP, self.channel_name)
        change = Change(streams, since=since)
        if await self.members.join_groups(change, JOIN_PATIENCE):
            self.members.apply(change, self.make_reader, self._connected)
        else:
            self.send_message(self._connected({}))
            self._changing = self.spawn(self._join_later(change, None))
        self._heartbeat = heartbeat(settings.REALTIME_HEARTBEAT_INTERVAL)
        self._heartbeat.add(self)
        self._check_position(streams)

    def _check_position(self, streams: Sequence[Stream]) -> None:
        """Behind `connected`: say it if the URL asks to resume what it cannot."""
        try:
            position = protocol.position_from_query(self.scope["query_string"])
        except ProtocolError as exc:
            self.send_error(exc)
            return
        if position is not None and not streams:
            self.send_error(
                ProtocolError(
                    ErrorCode.INVALID_MESSAGE,
                    "offset: the URL has no symbol that it could be of; send subscribe with since",
                    details={"field": "offset"},
                )
            )

    async def _check_scope(self, streams: Sequence[Stream]) -> None:
        symbols: list[str | None] = [stream.symbol for stream in streams]
        for symbol in symbols if symbols and self.channel != "alerts" else [None]:
            if not self.identity.allows(self.channel, symbol):
                what = self.channel if symbol is None else f"{self.channel} of {symbol}"
                await self.refuse(
                    ErrorCode.FORBIDDEN,
                    f"your credential does not allow {what}",
                    CloseCode.FORBIDDEN,
                )

    async def _check_origin(self) -> None:
        if not origin_allowed(self.scope["headers"], self.identity):
            await self.refuse(
                ErrorCode.FORBIDDEN,
                "pages of this Origin may not connect; REALTIME_ALLOWED_ORIGINS names those that "
                "may, or the API key does",
                CloseCode.FORBIDDEN,
            )

    async def _check_handshakes(self) -> None:
        if self.numbered and settings.REALTIME_HANDSHAKES_PER_IP_PER_MINUTE:
            refusal = await check_handshakes(self.channel_layer, self._address)
            if refusal is not None:
                await self._refuse_connection(refusal)

    async def _take_slot(self) -> None:
        """Room for one more under each limit, by the policy at the expense of the oldest one."""
        limits = connection_limits(self.identity, lambda: self._address) if self.numbered else {}
        wanted = {who: limit for who, limit in limits.items() if who not in self._slots}
        if wanted:
            refusal = await take_slot(self.channel_layer, self.connection_id, wanted)
            for _ in range(MAX_EVICTIONS):
                if refusal is None or not refusal.evict or not _may_evict():
                    break
                oldest = {"type": EVICT, "connection_id": refusal.evict}
                await self.channel_layer.group_send(GROUP, oldest)
                await asyncio.sleep(EVICTION_SECONDS)
                refusal = await take_slot(self.channel_layer, self.connection_id, wanted)
            if refusal is not None:
                await self._refuse_connection(refusal)
        # After an `auth` with another credential it does not count for the one before any more.
        left = tuple(who for who in self._slots if who not in limits)
        if left:
            self.channel_layer.free_slot(self.connection_id, left)
        self._slots = tuple(limits)

    async def _refuse_connection(self, refusal: Refusal) -> NoReturn:
        await self.refuse(
            ErrorCode.CONNECTION_LIMIT,
            refusal.message,
            CloseCode.LIMIT_EXCEEDED,
            retry_after_ms=refusal.retry_after_ms,
        )

    @property
    def _address(self) -> str | None:
        return client_address(self.scope.get("client"), self.scope["headers"])

    def _connected(self, infos: dict[str, StreamInfo]) -> protocol.Connected:
        symbols = self.members.symbols
        message = protocol.Connected(
            channel=self.channel,
            symbols=symbols,
            connection_id=self.connection_id,
            message=f"Connected to {self.channel}",
            protocol=protocol.PROTOCOL_VERSION,
            heartbeat_interval=settings.REALTIME_HEARTBEAT_INTERVAL,
            authenticated=self.identity.is_authenticated,
            streams=infos,
        )
        if len(symbols) == 1:
            message.symbol = symbols[0]
        return message

    # Messages from the client -----------------------------------------------------------------

    async def receive_message(self, message: protocol.AnyClientMessage) -> None:
        # A pong that was asked for is free: who is held up must not seem dead.
        answers_ping = isinstance(message, protocol.Pong) and self.pulse.awaits_pong
        if not answers_ping and await self._held_up(message):
            return
        if not self._welcomed and not isinstance(message, protocol.Auth):
            raise ProtocolError(
                ErrorCode.AUTH_REQUIRED,
                'anonymous sockets are not served here; send {"type":"auth","token":…} first',
                id=message.id,
            )
        match message:
            case protocol.Pong():
                self.pulse.pong()
            case protocol.Subscribe():
                await self.in_turn(lambda: self._on_subscribe(message))
            case protocol.Unsubscribe():
                await self.in_turn(lambda: self._on_unsubscribe(message))
            case protocol.Auth():
                await self._on_auth(message)
            case protocol.StatusRequest():
                self.send_message(self._status(message.id))
            case _:
                await self.receive_other(message)

    async def _held_up(self, message: protocol.AnyClientMessage) -> bool:
        """Whether the message comes too soon: then it is answered, and the next one read later.

        What is not read fills the client's own buffers. Answered at once, a flood would take as
        much of the server's time as the client has.
        """
        wait = self.rate.take(_cost(message))
        if not wait:
            return False
        retry_after_ms = int(wait * 1000) + 1
        self.send_error(
            ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"more than {self.rate.rate:g} messages a second",
                retry=True,
                retry_after_ms=retry_after_ms,
                id=message.id,
            )
        )
        await asyncio.sleep(min(retry_after_ms / 1000, MAX_PAUSE))
        return True

    async def receive_other(self, message: protocol.AnyClientMessage) -> None:
        """Messages that only some channels know."""
        kind = str(message.__struct_config__.tag)
        endpoint = protocol.ENDPOINT_OF.get(kind)
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"{kind} is not for {self.channel}" + (f": send it on {endpoint}" if endpoint else ""),
            details={"field": "type"},
            id=message.id,
        )

    # Subscriptions ----------------------------------------------------------------------------

    def make_reader(self, stream: Stream, max_rate: float | None) -> Reader | None:
        """What stands between the stream and the socket; None for nothing."""
        return None if max_rate is None else RateLimitedReader(self.socket, max_rate)

    async def in_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a change of subscriptions after the one before; do not hold up `pong` for it."""
        before = self._changing
        if before is None or before.done():
            await work()
            return

        async def later() -> None:
            await asyncio.wait([before])
            await self.guarded(work)

        self._changing = self.spawn(later())

    async def _on_subscribe(self, message: protocol.Subscribe) -> None:
        change = requested(
            self.channel,
            message,
            self.members.streams,
            self.identity,
            max_subscriptions(self.identity),
        )
        if change.max_rate is not None and not self.numbered:
            raise ProtocolError(
                ErrorCode.INVALID_MESSAGE,
                "max_rate: the channel layer of this server cannot limit rates",
                details={"field": "max_rate"},
                id=message.id,
            )
        await self.change(change, message.id)

    async def change(self, change: Change, id: str | int | None) -> None:
        """Make a change and answer `subscribed`: now, or when the channel layer is back."""
        if await self.members.join_groups(change, JOIN_PATIENCE):
            await self._finish(change, id)
        else:
            self._changing = self.spawn(self._join_later(change, id))

    async def _join_later(self, change: Change, id: str | int | None) -> None:
        joined = False
        while not joined:
            await asyncio.sleep(0.2)
            joined = await self.members.join_groups(change, patience=60.0)
        await self._finish(change, id)

    async def _finish(self, change: Change, id: str | int | None) -> None:
        await self.members.leave(list(change.leave))
        self.members.apply(
            change, self.make_reader, lambda infos: self._answer(protocol.Subscribed, infos, id)
        )

    async def _on_unsubscribe(self, message: protocol.Unsubscribe) -> None:
        leaving = to_leave(self.channel, message.symbols, self.members.streams, message.id)
        await self.members.leave(leaving)
        positions = self.members.positions()
        self.send_message(self._answer(protocol.Unsubscribed, positions, message.id))

    def _answer(
        self, kind: type[protocol.Subscribed], infos: dict[str, StreamInfo], id: str | int | None
    ) -> protocol.Subscribed:
        symbols = self.members.symbols
        message = kind(channel=self.channel, symbols=symbols, streams=infos)
        if len(symbols) == 1:
            message.symbol = symbols[0]
        return protocol.answering(message, id)

    # Credentials ------------------------------------------------------------------------------

    async def _on_auth(self, message: protocol.Auth) -> None:
        try:
            identity = await aauthenticate(credential_from_token(message.token, "message"))
        except InvalidCredential as exc:
            await self.refuse(ErrorCode.INVALID_TOKEN, str(exc), id=message.id)
        except (TicketsUnavailable, DatabaseError) as exc:
            logger.error("a credential could not be checked: %s", exc)
            await self._refuse_unchecked(message.id)
        known = self.identity.is_authenticated
        if known and identity.user_id != self.identity.user_id:
            raise ProtocolError(
                ErrorCode.FORBIDDEN,
                "this socket belongs to another user; open a new one",
                id=message.id,
            )
        self._adopt(identity)
        self.cancel_timer("auth")
        await self._check_origin()
        if not self._welcomed:
            streams, since = await self.wanted_streams()
            await self.welcome(streams, since)
        else:
            await self._take_slot()
            self._watch_expiry()
            if self._live is not None:
                self._live.add(self)  # it may have been revoked since it was checked
        expires_at = identity.expires_at
        answer = protocol.Authenticated(
            expires_at=None if expires_at is None else protocol.timestamp(expires_at)
        )
        self.send_message(protocol.answering(answer, message.id))
        await self._keep_to_scope()
        if not known:
            await self.in_turn(self.became_known)

    async def _refuse_unchecked(self, id: str | int | None = None) -> NoReturn:
        await self.refuse(
            ErrorCode.INTERNAL_ERROR,
            "credentials cannot be checked just now; try again",
            CloseCode.INTERNAL_ERROR,
            id=id,
            retry_after_ms=RETRY_AFTER_MS,
        )

    def _adopt(self, identity: Identity) -> None:
        if self._welcomed and identity.key_id != self.identity.key_id:
            connection_manager.changed_key(self.channel, self.identity.key_id, identity.key_id)
        self.identity = self.scope["auth"] = identity
        self.scope["user"] = identity.user
        self.rate.change(*message_rate(identity))

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
        if expires_at is None:
            self.cancel_timer("expiry")
            return
        left = max(0.0, expires_at.timestamp() - time.time())
        renewable = self.identity.kind == "jwt"
        self.timer("expiry", left, self._token_expired if renewable else self._credential_ended)

    async def _token_expired(self) -> None:
        expires_at = self.identity.expires_at
        assert expires_at is not None
        self.send_message(protocol.TokenExpiring(expires_at=protocol.timestamp(expires_at)))
        self.timer("expiry", EXPIRY_GRACE, self._credential_ended)

    async def _credential_ended(self) -> None:
        await self.refuse(
            ErrorCode.INVALID_TOKEN, "The credential has expired. Obtain a new one and reconnect."
        )

    async def credential_changed(self, identity: Identity | None) -> None:
        """What the credential is now, after somebody changed it: see access/live.py."""
        await self.guarded(lambda: self._apply_credential(identity))

    async def _apply_credential(self, identity: Identity | None) -> None:
        if self.ended:
            return
        if identity is None:
            await self.refuse(
                ErrorCode.INVALID_TOKEN, "The credential does not work any more. Obtain a new one."
            )
        recount = identity.max_connections != self.identity.max_connections
        self._adopt(identity)
        self._watch_expiry()
        await self._check_origin()
        await self._keep_to_scope()
        if recount and self.numbered:
            await self._count_again()

    async def _count_again(self) -> None:
        """The key may have fewer sockets than before, or was without a limit: count this one.

        Who has to go is known when those of every process are counted.
        """
        limits = connection_limits(self.identity, lambda: self._address)
        self._slots = tuple(dict.fromkeys((*self._slots, *limits)))
        await self._keep_slot(limits)
        self.timer("surplus", COUNT_SECONDS, self._close_surplus)

    async def _close_surplus(self) -> None:
        refusal = await self._keep_slot(connection_limits(self.identity, lambda: self._address))
        if refusal is not None:
            await self._refuse_connection(refusal)

    async def _keep_slot(self, limits: Mapping[str, int]) -> Refusal | None:
        newest_first = not _may_evict()
        return await keep_slot(
            self.channel_layer, self.connection_id, limits, newest_first=newest_first
        )

    async def _keep_to_scope(self) -> None:
        """After a change of the credential: end what it does not allow."""
        if not self.identity.allows(self.channel):
            await self.refuse(
                ErrorCode.FORBIDDEN,
                f"your credential does not allow {self.channel}",
                CloseCode.FORBIDDEN,
            )
        await self.in_turn(self._end_forbidden)

    async def _end_forbidden(self) -> None:
        """End the subscriptions that the credential does not allow any more, and say which."""
        if self.channel == "alerts":
            return
        forbidden = [
            stream
            for stream in self.members.streams.values()
            if not self.identity.allows(self.channel, stream.symbol)
        ]
        if forbidden:
            await self.members.leave(forbidden)
            symbols = {stream.symbol: "forbidden" for stream in forbidden}
            self.send_error(
                ProtocolError(
                    ErrorCode.FORBIDDEN,
                    f"your credential does not allow {', '.join(symbols)}; "
                    "these subscriptions have ended",
                    details={"symbols": symbols},
                )
            )

    async def evicted(self) -> None:
        """A newer connection takes this one's place."""
        self.send_last(
            ProtocolError(
                ErrorCode.CONNECTION_LIMIT,
                "a newer connection took the place of this one",
                retry_after_ms=RETRY_AFTER_MS,
            )
        )
        await self.end(CloseCode.LIMIT_EXCEEDED, "replaced by a newer connection")

    async def access_changed(self, event: Mapping[str, Any]) -> None:
        """An announcement, through a stock channel layer."""
        if concerns(event, self.identity):
            forget_announced(event)
            answers = await database_sync_to_async(recheck)([self.identity])
            await self.credential_changed(answers.get(self.identity))

    # Heartbeat and status ---------------------------------------------------------------------

    def beat(self, texts: dict[tuple[str, ...], bytes]) -> None:
        if not self.pulse.ping():
            self.spawn(self.end(CloseCode.HEARTBEAT_TIMEOUT, "no pong"))
            return
        if not self.members.plain:
            self.send_message(protocol.Ping(heads=self.members.heads()))
            return
        key = tuple(stream.group for stream in self.members.streams.values())
        text = texts.get(key)
        if text is None:
            text = texts[key] = protocol.encode(protocol.Ping(heads=self.members.heads()))
        self.socket.send(text)

    def tally(self) -> tuple[int, int, int]:
        return self.socket.sent, self.socket.outbox.folded, self.members.replayed

    async def end(self, code: CloseCode, reason: str) -> None:
        if not self.ended:
            connection_manager.count(f"closed:{int(code)}")
        await super().end(code, reason)

    def _status(self, id: str | int | None) -> protocol.Status:
        identity = self.identity
        round_trip = self.pulse.round_trip
        expires_at = identity.expires_at
        message = protocol.Status(
            channel=self.channel,
            connection_id=self.connection_id,
            symbols=self.members.symbols,
            streams=self.members.positions(),
            limits=self.limits(),
            counters={
                **dict(zip(TALLIED, self.tally(), strict=True)),
                "waiting_bytes": self.socket.outbox.size,
            },
            rtt_ms=None if round_trip is None else round(round_trip * 1000, 3),
            credential={
                "kind": identity.kind,
                "expires_at": None if expires_at is None else protocol.timestamp(expires_at),
            },
            server={"id": SERVER_ID, "version": VERSION},
        )
        return protocol.answering(message, id)

    def limits(self) -> dict[str, Any]:
        """Each limit of this socket, and how much of it is left."""
        subscriptions = max_subscriptions(self.identity)
        outbox = self.socket.outbox
        return {
            "subscriptions": limit_left(subscriptions, subscriptions - len(self.members.streams)),
            "messages": limit_left(self.rate.burst, self.rate.left),
            "invalid_messages_per_minute": limit_left(
                self.invalid_messages.limit, self.invalid_messages.left
            ),
            "outbox_bytes": limit_left(outbox.limit, outbox.limit - outbox.size),
        }


def _symbol_in_path(scope: Mapping[str, Any]) -> str | None:
    """What stands where the URL has the symbol; None for nothing.

    A slash at the end is tolerated. One that is percent-encoded belongs to the symbol, which only
    the path as it was sent can tell; servers need not pass that on.
    """
    text: str | None = scope["url_route"]["kwargs"].get("symbol")
    if not text:
        return None
    sent: bytes = scope.get("raw_path") or b"/"
    return text[:-1] if text.endswith("/") and sent.endswith(b"/") else text


def _cost(message: protocol.AnyClientMessage) -> int:
    """How many messages this one counts as."""
    if isinstance(message, protocol.Subscribe | protocol.Unsubscribe):
        return 1 + len(message.symbols or ()) // SYMBOLS_PER_MESSAGE
    return 1


def _may_evict() -> bool:
    policy: str = settings.REALTIME_CONNECTION_LIMIT_POLICY
    return policy == "close_oldest"


def limit_left(limit: int, left: int) -> dict[str, int]:
    return {"limit": limit, "left": max(0, left)}
