"""Logins with JSON Web Tokens: a refresh token and its access tokens are one session.

Every token of a session carries its `sid`. Ending the session ends all of them: the current refresh
token, and access tokens that have not expired yet. simplejwt's blacklist lists the tokens and
sessions that have ended. Here its rows hold the session of a token, never the token's text.

What a token says about its user is the project's choice, in SIMPLE_JWT. A project without the
blacklist among its apps has logins that end by themselves only.
"""

import re
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Exists, Q
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token, UntypedToken
from rest_framework_simplejwt.utils import datetime_from_epoch, get_md5_hash_password

from realtime.access.signatures import BACKEND
from realtime.users import UserId

SESSION_CLAIM: Final = "sid"
JTI_CLAIM: Final[str] = api_settings.JTI_CLAIM or "jti"
BLACKLIST_APP: Final = "rest_framework_simplejwt.token_blacklist"
_SESSION_ID: Final = re.compile(r"[0-9a-f]{32}")


class Claims(Protocol):
    """The claims of a token, or a mapping of them."""

    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: str, /) -> object: ...
    def get(self, name: str, /) -> Any: ...


def can_end_logins() -> bool:
    """Does the project have simplejwt's blacklist?"""
    return apps.is_installed(BLACKLIST_APP)


def user_field() -> str:
    """The field of the user model that a token names."""
    # simplejwt's default is not the name of every primary key.
    return "pk" if api_settings.USER_ID_FIELD == "id" else str(api_settings.USER_ID_FIELD)


def claims_of_user(user: Any) -> dict[str, str]:
    """What a token says about its user."""
    claims = {api_settings.USER_ID_CLAIM: str(getattr(user, user_field()))}
    if api_settings.CHECK_REVOKE_TOKEN:
        claims[api_settings.REVOKE_TOKEN_CLAIM] = get_md5_hash_password(user.password)
    return claims


def user_named_by(token: Claims) -> object:
    """The value of `user_field`; raises KeyError, ValidationError and others for an odd claim."""
    model = get_user_model()
    name = user_field()
    field: Any = model._meta.pk if name == "pk" else model._meta.get_field(name)
    return field.to_python(token[api_settings.USER_ID_CLAIM])


def ids_of(token: Claims) -> list[str]:
    """The ids by which a token may be blacklisted: its own, and that of its session."""
    return [str(token[claim]) for claim in (JTI_CLAIM, SESSION_CLAIM) if claim in token]


def blacklisted(token: Claims) -> Exists | Q:
    """The blacklist look-up as a condition inside a larger query."""
    if not can_end_logins():
        return Q(pk__in=[])
    return Exists(BlacklistedToken.objects.filter(token__jti__in=ids_of(token)))


def is_blacklisted(token: Claims) -> bool:
    return bool(_ended(ids_of(token)))


def _ended(ids: Collection[str | None]) -> set[str]:
    """Which of these ids of tokens and sessions the blacklist holds."""
    if not can_end_logins():
        return set()
    found = BlacklistedToken.objects.filter(token__jti__in=ids)
    return set(found.values_list("token__jti", flat=True))


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
    ended = _ended(asked)
    return {member for member, own in ids.items() if own & ended}


def ended_tokens(tokens: Collection[Claims]) -> set[str]:
    """The `jti` of tokens that are blacklisted, directly or by their session; one query."""
    asked = {own for token in tokens for own in ids_of(token)}
    ended = _ended(asked)
    return {str(token[JTI_CLAIM]) for token in tokens if not ended.isdisjoint(ids_of(token))}


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
        token.payload.update(claims_of_user(user))
        token[SESSION_CLAIM] = uuid4().hex
        _note(token, ids_of(token), user.pk)
        return token

    def check_blacklist(self) -> None:
        if is_blacklisted(self):
            raise TokenError("Token is blacklisted")

    def outstand(self) -> None:
        """Called for a token that rotation makes: the session lives as long as it."""
        user = get_user_model()._default_manager.filter(**{user_field(): user_named_by(self)})
        _note(self, ids_of(self)[:1], user.values_list("pk", flat=True).first())
        if SESSION_CLAIM in self and can_end_logins():
            session = OutstandingToken.objects.filter(jti=self[SESSION_CLAIM])
            session.update(expires_at=datetime_from_epoch(self["exp"]))

    def blacklist(self) -> None:  # type: ignore[override]  # nobody reads the row
        """Called for the token that rotation replaces: this one only, its session goes on.

        Raises TokenError if another request was faster: of several requests that use a token at the
        same time, only one receives the next token.
        """
        if not can_end_logins():
            return
        self.outstand()
        with transaction.atomic():
            row = OutstandingToken.objects.select_for_update().get(jti=self[JTI_CLAIM])
            self.check_blacklist()
            _blacklist([row])


def session_of(token: OutstandingToken) -> str:
    """The session that a row belongs to, or stands for."""
    # simplejwt's own for_user() stores the token's text there; such a token has no session.
    return token.token if _SESSION_ID.fullmatch(token.token) else token.jti


def session_id_of(request: Any) -> str | None:
    """What names the session of Django behind a request, without its secret; None for none."""
    key = getattr(getattr(request, "session", None), "session_key", None)
    return salted_hmac("realtime.session", key).hexdigest()[:32] if key else None


def end_session(session_id: str) -> None:
    """No token of this session is good any more."""
    if can_end_logins():
        _blacklist(OutstandingToken.objects.filter(jti=session_id))


def end_django_session(session_id: str, user_id: UserId) -> None:
    """No ticket of this session of Django is good any more; see `session_id_of`."""
    if not can_end_logins():
        return
    now = timezone.now()
    lasts = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    OutstandingToken.objects.get_or_create(
        jti=session_id,
        defaults={"user_id": user_id, "created_at": now, "expires_at": now + lasts},
    )
    end_session(session_id)


def end_sessions(user_id: UserId) -> None:
    """No token of any session of this user is good any more."""
    if can_end_logins():
        with transaction.atomic():
            _blacklist(OutstandingToken.objects.filter(user_id=user_id))


def _note(token: Token, ids: Iterable[str], user_id: Any) -> None:
    if not can_end_logins():
        return
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


def _blacklist(outstanding: Any) -> None:
    BlacklistedToken.objects.bulk_create(
        [BlacklistedToken(token=token) for token in outstanding], ignore_conflicts=True
    )
