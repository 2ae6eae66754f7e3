"""The base of the three consumers: it connects, and passes each message to its part."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, assert_never

from asgiref.typing import WebSocketDisconnectEvent

from realtime import protocol
from realtime.access.identity import Identity
from realtime.access.live_sockets import (
    GROUP,
    Answer,
    LiveSockets,
    concerns,
    forget_announced,
    live_sockets,
    recheck,
)
from realtime.access.roster import ConnectionRow, Transport
from realtime.conf import conf
from realtime.connections import connection_manager
from realtime.consumers.socket import SocketConsumer
from realtime.db import in_database
from realtime.delivery.heartbeat import Heartbeat, Pings, heartbeat
from realtime.delivery.process_layer import Message
from realtime.delivery.readers import RateLimitedReader
from realtime.delivery.updates import Reader
from realtime.limits.policy import SYMBOLS_PER_MESSAGE, max_subscriptions
from realtime.protocol import CloseCode, ErrorCode, Position, ProtocolError
from realtime.session.admission import Admission
from realtime.session.answers import connected, described, limit_left, status
from realtime.session.changes import Changes
from realtime.session.credential import LiveCredential
from realtime.session.journal import journal
from realtime.session.pulse import Pulse
from realtime.session.requests import Change
from realtime.session.subscriptions import ANSWER, Subscriptions
from realtime.session.url import check_position, position_in_url, stream_in_url
from realtime.streams import Channel, Stream

# What a client that goes without a close frame is closed with: RFC 6455, section 7.1.5.
_NO_CLOSE_FRAME: Final = 1006
# Seconds for which a socket that has sent too much is not read.
MAX_PAUSE: Final = 1.0

logger = logging.getLogger(__name__)


class RealtimeConsumer(SocketConsumer):
    """The common part of the three endpoints: connecting, messages, heartbeat, status."""

    channel: ClassVar[Channel]
    transport: ClassVar[Transport] = "websocket"
    max_rate: float | None = None  # the streams of the first subscription
    events = {
        **SocketConsumer.events,
        "access.changed": {"credential_id": object, "session_id": object, "user_id": object},
    }
    # Set by `connect`.
    credential: LiveCredential
    admission: Admission
    # Set by `welcome`.
    subscriptions: Subscriptions
    changes: Changes
    connected_at: float

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.connection_id = f"{random.getrandbits(128):032x}"
        self.pulse = Pulse()
        self.close_code = _NO_CLOSE_FRAME
        self._welcomed = False
        self._live: LiveSockets | None = None
        self._heartbeat: Heartbeat | None = None

    @property
    def endpoint(self) -> str:
        return self.channel if self.transport == "websocket" else f"sse:{self.channel}"

    @property
    def identity(self) -> Identity:
        return self.credential.identity

    def release(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.remove(self)
            self._heartbeat = None
        if self._live is not None:
            self._live.remove(self)
            self._live = None
        if self._welcomed:
            self._welcomed = False
            connection_manager.closed(self.channel, self.identity.key_id, self.tally())
            journal.closed(self)
            self.subscriptions.close()
            self.admission.close()
        super().release()

    async def websocket_disconnect(self, message: WebSocketDisconnectEvent) -> None:
        if not self.ended:
            self.close_code = message.get("code") or _NO_CLOSE_FRAME
        if self._welcomed and not self.numbered:
            # A layer with `detach` does this itself.
            await self.subscriptions.leave(list(self.subscriptions.streams.values()))
            await self.channel_layer.group_discard(GROUP, self.channel_name)
        await super().websocket_disconnect(message)

    # Connecting -------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Accept first: a refusal before the accept reaches a browser as 1006, without reason."""
        offered = self.scope.get("subprotocols") or ()
        await self.accept(protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None)
        if not hasattr(self, "channel_name"):  # Channels creates it with its layer
            logger.error("no socket can be served: CHANNEL_LAYERS has no default")
            reason = "the server has no channel layer"
            await self.refuse(ErrorCode.INTERNAL_ERROR, reason, CloseCode.INTERNAL_ERROR)
        self.credential = LiveCredential(self, self.scope)
        self.admission = Admission(self, self.scope, self.stream_layer)
        await self.credential.check()
        await self.admission.check_origin()
        await self.admission.check_handshakes()
        streams, since = await self.wanted_streams()
        if not self.identity.is_authenticated and not conf.REALTIME_ALLOW_ANONYMOUS:
            await self.require_auth()  # it continues from here
            return
        await self.welcome(streams, since)

    async def require_auth(self) -> None:
        """Ask an anonymous client for `auth`, where anonymous clients are not served."""
        self.credential.expect_auth()

    async def wanted_streams(self) -> tuple[list[Stream], dict[str, Position]]:
        """The streams in the URL, and the client's positions in them."""
        try:
            stream = stream_in_url(self.channel, self.scope)
        except ProtocolError as exc:
            await self.refuse(exc.code, exc.message, CloseCode.NOT_FOUND)
        return ([], {}) if stream is None else ([stream], position_in_url(stream, self.scope))

    async def welcome(self, streams: Sequence[Stream], since: Mapping[str, Position]) -> None:
        """Check the scope, join the groups, say `connected`, send the snapshots."""
        await self.credential.check_scope(streams)
        await self.admission.take_slots()
        self._welcomed = True
        self.connected_at = time.time()
        connection_manager.opened(self.channel, self.identity.key_id)
        journal.opened(self)
        self.subscriptions = Subscriptions(self.channel_layer, self.channel_name, self.socket)
        self.changes = Changes(self, self.subscriptions)
        self.credential.watch_expiry()
        if self.stream_layer is not None:
            self._live = live_sockets(self.stream_layer)
            self._live.add(self)
        else:
            await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.changes.begin(
            Change(streams, since=since, max_rate=self.max_rate),
            lambda infos: connected(self, self.subscriptions, infos),
        )
        self._heartbeat = heartbeat(conf.REALTIME_HEARTBEAT_INTERVAL)
        self._heartbeat.add(self)
        try:
            check_position(streams, self.scope)
        except ProtocolError as exc:
            self.send_error(exc)

    def make_reader(self, stream: Stream, max_rate: float | None) -> Reader | None:
        return None if max_rate is None else RateLimitedReader(self.socket, max_rate)

    # Its credential ---------------------------------------------------------------------------

    async def _on_auth(self, message: protocol.Auth) -> None:
        before = self.identity
        answer = await self.credential.authenticate(message)
        if self._welcomed and self.identity.key_id != before.key_id:
            connection_manager.changed_key(self.channel, before.key_id, self.identity.key_id)
        await self.admission.check_origin()
        if not self._welcomed:
            streams, since = await self.wanted_streams()
            await self.welcome(streams, since)
        else:
            await self.admission.take_slots()
            self.credential.watch_expiry()
            if self._live is not None:
                self._live.add(self)  # it may have been revoked since it was checked
        self.send_message(answer)
        await self._keep_to_scope()
        if not before.is_authenticated:
            await self.changes.in_turn(self.became_known)

    async def became_known(self) -> None:
        """Continue an anonymous connection that has sent `auth`."""

    async def _keep_to_scope(self) -> None:
        """After a change of the credential, end the subscriptions that it does not allow."""
        await self.credential.check_scope()
        await self.changes.in_turn(self.changes.end_forbidden)

    async def credential_changed(self, identity: Answer) -> None:
        """Take over a changed credential: see access/live_sockets.py."""
        await self.guarded(lambda: self._apply_credential(identity))

    async def _apply_credential(self, identity: Answer) -> None:
        if self.ended:
            return
        most = self._most_connections
        await self.credential.change(identity)
        await self.admission.check_origin()
        await self._keep_to_scope()
        if self.numbered and self._most_connections != most:
            await self.admission.count_again()

    @property
    def _most_connections(self) -> tuple[int, int]:
        return self.identity.max_connections, self.identity.user_connections

    async def access_changed(self, event: Message) -> None:
        """Handle an announcement that came through a stock channel layer."""
        if concerns(event, self.identity):
            forget_announced(event)
            answers = await in_database(recheck)([self.identity])
            await self.credential_changed(answers.get(self.identity))

    async def evicted(self) -> None:
        await self.admission.evicted()

    def client_address(self) -> str | None:
        return self.admission.address

    # For operators ----------------------------------------------------------------------------

    def describe(self) -> ConnectionRow:
        return described(self, self.subscriptions, self.admission.address, self.pulse.round_trip)

    def end_by_operator(self, reason: str) -> None:
        self.send_last(ProtocolError(ErrorCode.DISCONNECTED, reason))
        self.spawn(self.end(CloseCode.DISCONNECTED, reason))

    # Messages from the client -----------------------------------------------------------------

    async def receive_message(self, message: protocol.AnyClientMessage) -> None:
        # A pong that was asked for is free: a client that is held up must not seem dead.
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
            case protocol.PingRequest():
                self.send_message(protocol.answering(protocol.PongAnswer(), message.id))
            case protocol.Subscribe():
                await self.changes.in_turn(lambda: self.changes.subscribe(message))
            case protocol.Unsubscribe():
                await self.changes.in_turn(lambda: self.changes.unsubscribe(message))
            case protocol.Auth():
                await self._on_auth(message)
            case protocol.StatusRequest():
                self.socket.send_once(ANSWER, protocol.encode(self._status(message)))
            case protocol.RequestPrediction() | protocol.ConfigureAlerts() | protocol.Ack():
                await self.receive_other(message)
            case _:
                assert_never(message)

    async def _held_up(self, message: protocol.AnyClientMessage) -> bool:
        """Whether the message comes too soon: it is refused, and the next one read later.

        Unread input fills the client's own buffers. Answered at once, a flood of messages would
        take as much of the server's time as the client wants.
        """
        wait = self.credential.rate.take(_cost(message))
        if not wait:
            return False
        retry_after_ms = int(wait * 1000) + 1
        self.send_error(
            ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"more than {self.credential.rate.rate:g} messages per second",
                retry=True,
                retry_after_ms=retry_after_ms,
                id=message.id,
            )
        )
        await asyncio.sleep(min(retry_after_ms / 1000, MAX_PAUSE))
        return True

    async def receive_other(self, message: protocol.AnyClientMessage) -> None:
        """Handle messages that only some channels have."""
        kind = str(message.__struct_config__.tag)
        endpoint = protocol.ENDPOINT_OF.get(kind)
        raise ProtocolError(
            ErrorCode.INVALID_MESSAGE,
            f"{kind} is not for {self.channel}" + (f": send it on {endpoint}" if endpoint else ""),
            details={"field": "type"},
            id=message.id,
        )

    # Heartbeat and status ---------------------------------------------------------------------

    def beat(self, texts: Pings) -> None:
        if not self.pulse.ping():
            self.spawn(self.end(CloseCode.HEARTBEAT_TIMEOUT, "no pong"))
            return
        self.socket.send(self.subscriptions.ping(texts))

    @property
    def waiting_bytes(self) -> int:
        return self.socket.outbox.size

    def tally(self) -> tuple[int, int, int]:
        return self.socket.sent, self.socket.outbox.folded, self.subscriptions.replayed

    async def end(self, code: CloseCode, reason: str) -> None:
        if not self.ended:
            self.close_code = int(code)
            connection_manager.count(f"closed:{int(code)}")
            if not self._welcomed:
                self.count_refused(code)
        await super().end(code, reason)

    def _status(self, message: protocol.StatusRequest) -> protocol.Status:
        return status(self, self.subscriptions, self.limits(), self.pulse.round_trip, message.id)

    def limits(self) -> dict[str, dict[str, int]]:
        """Each limit of this socket, and how much of it is left."""
        most = max_subscriptions(self.identity)
        outbox = self.socket.outbox
        return {
            "subscriptions": limit_left(most, most - len(self.subscriptions.streams)),
            "messages": limit_left(self.credential.rate.burst, self.credential.rate.left),
            "invalid_messages_per_minute": limit_left(
                self.invalid_messages.limit, self.invalid_messages.left
            ),
            "outbox_bytes": limit_left(outbox.limit, outbox.limit - outbox.size),
        }


def _cost(message: protocol.AnyClientMessage) -> int:
    """The number of messages that this one counts as."""
    if isinstance(message, protocol.Subscribe | protocol.Unsubscribe):
        return 1 + len(message.symbols or ()) // SYMBOLS_PER_MESSAGE
    return 1
