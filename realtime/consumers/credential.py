"""Who the client is, while the socket is open: `auth`, expiry, revocation, changed scopes."""

import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, NoReturn

from django.conf import settings
from django.db import DatabaseError

from realtime import protocol
from realtime.access.authentication import InvalidCredential, aauthenticate
from realtime.access.credentials import credential_from_token
from realtime.access.identity import Identity
from realtime.access.live_sockets import LiveSockets, concerns, forget_announced, recheck
from realtime.access.tickets import TicketsUnavailable
from realtime.connections import connection_manager
from realtime.consumers.socket import SocketConsumer
from realtime.db import in_database
from realtime.limits.policy import RETRY_AFTER_MS, message_rate
from realtime.limits.rates import TokenBucket
from realtime.protocol import CloseCode, ErrorCode, Position, ProtocolError
from realtime.session.admission import Admission
from realtime.session.changes import Changes
from realtime.streams import Channel, Stream

logger = logging.getLogger(__name__)

# Seconds between `token_expiring` and the close of a socket whose JWT is not renewed.
EXPIRY_GRACE: Final = 25.0


class AuthenticatingConsumer(SocketConsumer):
    """A socket that does what its credential allows, as that is now."""

    channel: ClassVar[Channel]
    admission: Admission
    changes: Changes
    identity: Identity
    rate: TokenBucket

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection_id = f"{random.getrandbits(128):032x}"
        self._welcomed = False
        self._live: LiveSockets | None = None

    def release(self) -> None:
        if self._live is not None:
            self._live.remove(self)
            self._live = None
        super().release()

    async def wanted_streams(self) -> tuple[list[Stream], dict[str, Position]]:
        """The streams that the URL names, and where it says the client stands in them."""
        raise NotImplementedError

    async def welcome(self, streams: Sequence[Stream], since: Mapping[str, Position]) -> None:
        """Begin to serve a socket whose credential is good enough."""
        raise NotImplementedError

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
        await self.admission.check_origin()
        if not self._welcomed:
            streams, since = await self.wanted_streams()
            await self.welcome(streams, since)
        else:
            await self.admission.take_slots()
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
            await self.changes.in_turn(self.became_known)

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

    async def evicted(self) -> None:
        await self.admission.evicted()

    async def credential_changed(self, identity: Identity | None) -> None:
        """What the credential is now, after somebody changed it: see access/live_sockets.py."""
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
        await self.admission.check_origin()
        await self._keep_to_scope()
        if recount and self.numbered:
            await self.admission.count_again()

    async def _keep_to_scope(self) -> None:
        """After a change of the credential: end what it does not allow."""
        if not self.identity.allows(self.channel):
            await self.refuse(
                ErrorCode.FORBIDDEN,
                f"your credential does not allow {self.channel}",
                CloseCode.FORBIDDEN,
            )
        await self.changes.in_turn(self.changes.end_forbidden)

    async def access_changed(self, event: Mapping[str, Any]) -> None:
        """An announcement, through a stock channel layer."""
        if concerns(event, self.identity):
            forget_announced(event)
            answers = await in_database(recheck)([self.identity])
            await self.credential_changed(answers.get(self.identity))
