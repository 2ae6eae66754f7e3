"""Logins with JSON Web Tokens: a refresh token and its access tokens are one session.

Every token of a session carries its `sid`. Ending the session ends all of them: the current refresh
token, and access tokens that have not expired yet. simplejwt's blacklist lists the tokens and
sessions that have ended. Here its rows hold the session of a token, never the token's text.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

from django.db import transaction
from django.db.models import Exists
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token, UntypedToken
from rest_framework_simplejwt.utils import datetime_from_epoch

from realtime.access.signatures import BACKEND
from realtime.users import UserId

SESSION_CLAIM: Final = "sid"
_SESSION_ID: Final = re.compile(r"[0-9a-f]{32}")


class Claims(Protocol):
    """The claims of a token, or a mapping of them."""

    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: str, /) -> Any: ...
    def get(self, name: str, /) -> Any: ...


def ids_of(token: Claims) -> list[str]:
    """The ids by which a token may be blacklisted: its own, and that of its session."""
    return [str(token[claim]) for claim in ("jti", SESSION_CLAIM) if claim in token]


def blacklisted(token: Claims) -> Exists:
    """The blacklist look-up as a condition inside a larger query."""
    return Exists(BlacklistedToken.objects.filter(token__jti__in=ids_of(token)))


def is_blacklisted(token: Claims) -> bool:
    return BlacklistedToken.objects.filter(token__jti__in=ids_of(token)).exists()


class SessionMember(Protocol):
    """The part of an identity that concerns its token and its login."""

    @property
    def credential_id(self) -> str: ...
    @property
    def session_id(self) -> str | None: ...


Member = TypeVar("Member", bound=SessionMember)


def ended_sessions(members: Collection[Member]) -> set[Member]:
    """The members whose token or login is blacklisted; one query."""
    ids = {
        member: {member.credential_id.removeprefix("jwt:"), member.session_id} for member in members
    }
    asked = set().union(*ids.values()) - {None}
    found = BlacklistedToken.objects.filter(token__jti__in=asked)
    ended = set(found.values_list("token__jti", flat=True))
    return {member for member, own in ids.items() if own & ended}


def ended_tokens(tokens: Collection[Claims]) -> set[str]:
    """The `jti` of tokens that are blacklisted, directly or by their session; one query."""
    asked = {own for token in tokens for own in ids_of(token)}
    found = BlacklistedToken.objects.filter(token__jti__in=asked)
    ended = set(found.values_list("token__jti", flat=True))
    return {str(token["jti"]) for token in tokens if not ended.isdisjoint(ids_of(token))}


class SessionAccessToken(AccessToken):
    """An access token, signed with SECRET_KEY or one of SECRET_KEY_FALLBACKS."""

    _token_backend = BACKEND


class AnyToken(UntypedToken):
    """A token of any type, for inspection only."""

    _token_backend = BACKEND


class SessionRefreshToken(RefreshToken):
    """A refresh token that knows its session."""

    _token_backend = BACKEND

    @classmethod
    def for_user(cls, user: Any) -> "SessionRefreshToken":
        """The first token of a new session."""
        token = cls()
        token["user_id"] = str(user.pk)
        token[SESSION_CLAIM] = uuid4().hex
        _note(token, ids_of(token), user.pk)
        return token

    def check_blacklist(self) -> None:
        if is_blacklisted(self):
            raise TokenError("Token is blacklisted")

    def outstand(self) -> None:
        """Called for the token that a rotation creates: extends the session to its expiry."""
        _note(self, ids_of(self)[:1], self["user_id"])
        if SESSION_CLAIM in self:
            session = OutstandingToken.objects.filter(jti=self[SESSION_CLAIM])
            session.update(expires_at=datetime_from_epoch(self["exp"]))

    def blacklist(self) -> BlacklistedToken:
        """Called for the token that a rotation replaces: ends it alone, and its session continues.

        Raises TokenError if another request was faster: of several requests that use a token at the
        same time, only one receives the next token.
        """
        self.outstand()
        with transaction.atomic():
            row = OutstandingToken.objects.select_for_update().get(jti=self["jti"])
            self.check_blacklist()
            return _blacklist([row])[0]


def session_of(token: OutstandingToken) -> str:
    """The session that a row belongs to, or stands for."""
    # simplejwt's own for_user() stores the token's text there; such a token has no session.
    return token.token if _SESSION_ID.fullmatch(token.token) else token.jti


def end_session(session_id: str) -> None:
    """End a session: none of its tokens is accepted any more."""
    _blacklist(OutstandingToken.objects.filter(jti=session_id))


def end_sessions(user_id: UserId) -> None:
    """End all sessions of a user: none of their tokens is accepted any more."""
    with transaction.atomic():
        _blacklist(OutstandingToken.objects.filter(user_id=user_id))


def _note(token: Token, ids: Iterable[str], user_id: Any) -> None:
    expires_at = datetime_from_epoch(token["exp"])
    OutstandingToken.objects.bulk_create(
        [
            OutstandingToken(
                jti=jti,
                user_id=user_id,
                token=token.get(SESSION_CLAIM, ""),
                created_at=token.current_time,
                expires_at=expires_at,
            )
            for jti in ids
        ],
        ignore_conflicts=True,
    )


def _blacklist(outstanding: Any) -> list[BlacklistedToken]:
    return BlacklistedToken.objects.bulk_create(
        [BlacklistedToken(token=token) for token in outstanding], ignore_conflicts=True
    )
