"""Logins with JSON Web Tokens: a refresh token and its access tokens are one session.

Every token of a session carries its `sid`. Ending the session ends all of them: the refresh token
that rotation has reached by then, and access tokens that have not expired yet. simplejwt's
blacklist holds what has ended. Its rows never hold a token's text here, but the session of it.
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
    """What a blacklist may hold about a token: its own id, and that of its session."""
    return [str(token[claim]) for claim in ("jti", SESSION_CLAIM) if claim in token]


def blacklisted(token: Claims) -> Exists:
    """A condition for a query that asks for more than this."""
    return Exists(BlacklistedToken.objects.filter(token__jti__in=ids_of(token)))


def is_blacklisted(token: Claims) -> bool:
    return BlacklistedToken.objects.filter(token__jti__in=ids_of(token)).exists()


class SessionMember(Protocol):
    """An identity, as far as its token and its login are concerned."""

    @property
    def credential_id(self) -> str: ...
    @property
    def session_id(self) -> str | None: ...


Member = TypeVar("Member", bound=SessionMember)


def ended_sessions(members: Collection[Member]) -> set[Member]:
    """Those whose token or login is blacklisted, with one query."""
    ids = {
        member: {member.credential_id.removeprefix("jwt:"), member.session_id} for member in members
    }
    asked = set().union(*ids.values()) - {None}
    found = BlacklistedToken.objects.filter(token__jti__in=asked)
    ended = set(found.values_list("token__jti", flat=True))
    return {member for member, own in ids.items() if own & ended}


def ended_tokens(tokens: Collection[Claims]) -> set[str]:
    """The `jti` of those that are blacklisted, themselves or by their session; one query."""
    asked = {own for token in tokens for own in ids_of(token)}
    found = BlacklistedToken.objects.filter(token__jti__in=asked)
    ended = set(found.values_list("token__jti", flat=True))
    return {str(token["jti"]) for token in tokens if not ended.isdisjoint(ids_of(token))}


class SessionAccessToken(AccessToken):
    """An access token, signed with any SECRET_KEY that is still known."""

    _token_backend = BACKEND


class AnyToken(UntypedToken):
    """A token of any type, to be looked at."""

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
        """Called for a token that rotation makes: the session lives as long as it."""
        _note(self, ids_of(self)[:1], self["user_id"])
        if SESSION_CLAIM in self:
            session = OutstandingToken.objects.filter(jti=self[SESSION_CLAIM])
            session.update(expires_at=datetime_from_epoch(self["exp"]))

    def blacklist(self) -> BlacklistedToken:
        """Called for the token that rotation replaces: this one only, its session goes on.

        Raises TokenError if another request was faster: of several that use a token at once, one
        gets the next token, and the others do not get logins of their own.
        """
        self.outstand()
        with transaction.atomic():
            row = OutstandingToken.objects.select_for_update().get(jti=self["jti"])
            self.check_blacklist()
            return _blacklist([row])[0]


def session_of(token: OutstandingToken) -> str:
    """The session that a row belongs to, or is."""
    # simplejwt's own for_user() puts the text of the token there: it has no session.
    return token.token if _SESSION_ID.fullmatch(token.token) else token.jti


def end_session(session_id: str) -> None:
    """No token of this session is good any more."""
    _blacklist(OutstandingToken.objects.filter(jti=session_id))


def end_sessions(user_id: UserId) -> None:
    """No token of any session of this user is good any more."""
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
