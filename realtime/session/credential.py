"""The credential of an open connection: `auth`, expiry, revocation, changed scopes."""

import logging
import time
from collections.abc import Sequence
from typing import Final, NoReturn

from django.db import DatabaseError

from realtime import protocol
from realtime.access.authentication import InvalidCredential, aauthenticate
from realtime.access.credentials import credential_from_token
from realtime.access.identity import Identity
from realtime.access.tickets import TicketsUnavailable
from realtime.access.user_access import UserAccessFailed
from realtime.conf import conf
from realtime.limits.policy import RETRY_AFTER_MS, message_rate
from realtime.limits.rates import TokenBucket
from realtime.protocol import CloseCode, ErrorCode, ProtocolError
from realtime.session.connection import Connection, SocketScope
from realtime.streams import Stream

logger = logging.getLogger(__name__)

# Seconds between `token_expiring` and the close of a socket whose JWT is not renewed.
EXPIRY_GRACE: Final = 25.0


class LiveCredential:
    """Who the client is, and how fast it may send, by its present credential."""

    __slots__ = ("_connection", "_scope", "identity", "rate")

    def __init__(self, connection: Connection, scope: SocketScope) -> None:
        self._connection = connection
        self._scope = scope
        self.identity = scope["auth"]
        self.rate = TokenBucket(*message_rate(self.identity))

    async def check(self) -> None:
        """Refuse a connection whose credential was not accepted, or could not be checked."""
        if self._scope["auth_error"]:
            await self._connection.refuse(ErrorCode.INVALID_TOKEN, self._scope["auth_error"])
        if self._scope["auth_unavailable"]:
            await self._refuse_unchecked()

    async def check_scope(self, streams: Sequence[Stream] = ()) -> None:
        """Refuse a connection whose credential does not allow these streams, or the channel."""
        channel = self._connection.channel
        symbols: list[str | None] = [stream.symbol for stream in streams]
        for symbol in symbols if symbols and channel != "alerts" else [None]:
            if not self.identity.allows(channel, symbol):
                what = channel if symbol is None else f"{channel} of {symbol}"
                await self._connection.refuse(
                    ErrorCode.FORBIDDEN,
                    f"your credential does not allow {what}",
                    CloseCode.FORBIDDEN,
                )

    async def _refuse_unchecked(self, id: str | int | None = None) -> NoReturn:
        await self._connection.refuse(
            ErrorCode.INTERNAL_ERROR,
            "credentials cannot be checked at the moment; try again",
            CloseCode.INTERNAL_ERROR,
            id=id,
            retry_after_ms=RETRY_AFTER_MS,
        )

    # `auth` -----------------------------------------------------------------------------------

    def expect_auth(self) -> None:
        """Give an anonymous client some seconds to send `auth`."""
        self._connection.timer("auth", conf.REALTIME_AUTH_TIMEOUT, self._auth_missing)

    async def _auth_missing(self) -> None:
        await self._connection.refuse(
            ErrorCode.AUTH_REQUIRED,
            f"no auth within {conf.REALTIME_AUTH_TIMEOUT:g} s, and anonymous sockets are not "
            "served here",
        )

    async def authenticate(self, message: protocol.Auth) -> protocol.Authenticated:
        """Replace the present credential by that of `auth`; returns the answer."""
        try:
            identity = await aauthenticate(credential_from_token(message.token, "message"))
        except InvalidCredential as exc:
            await self._connection.refuse(ErrorCode.INVALID_TOKEN, str(exc), id=message.id)
        except (TicketsUnavailable, DatabaseError) as exc:
            logger.error("a credential could not be checked: %s", exc)
            await self._refuse_unchecked(message.id)
        except UserAccessFailed:
            await self._refuse_unchecked(message.id)
        if self.identity.is_authenticated and identity.user_id != self.identity.user_id:
            raise ProtocolError(
                ErrorCode.FORBIDDEN,
                "this socket belongs to another user; open a new one",
                id=message.id,
            )
        self._adopt(identity)
        self._connection.cancel_timer("auth")
        expires_at = identity.expires_at
        answer = protocol.Authenticated(
            expires_at=None if expires_at is None else protocol.timestamp(expires_at)
        )
        return protocol.answering(answer, message.id)

    def _adopt(self, identity: Identity) -> None:
        self.identity = self._scope["auth"] = identity
        self._scope["user"] = identity.user
        self.rate.change(*message_rate(identity))

    # Its end ----------------------------------------------------------------------------------

    async def change(self, identity: Identity | UserAccessFailed | None) -> None:
        """Take over a change of the credential; None if it is no longer accepted."""
        if isinstance(identity, UserAccessFailed):
            await self._refuse_unchecked()
        if identity is None:
            await self._connection.refuse(
                ErrorCode.INVALID_TOKEN, "The credential is no longer valid. Obtain a new one."
            )
        self._adopt(identity)
        self.watch_expiry()

    def watch_expiry(self) -> None:
        expires_at = self.identity.expires_at
        if expires_at is None:
            self._connection.cancel_timer("expiry")
            return
        left = max(0.0, expires_at.timestamp() - time.time())
        renewable = self.identity.kind == "jwt"
        self._connection.timer("expiry", left, self._warn if renewable else self._expire)

    async def _warn(self) -> None:
        expires_at = self.identity.expires_at
        assert expires_at is not None
        expiring = protocol.TokenExpiring(expires_at=protocol.timestamp(expires_at))
        self._connection.send_message(expiring)
        self._connection.timer("expiry", EXPIRY_GRACE, self._expire)

    async def _expire(self) -> None:
        await self._connection.refuse(
            ErrorCode.INVALID_TOKEN, "The credential has expired. Obtain a new one and reconnect."
        )
