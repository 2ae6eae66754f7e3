"""How a credential proves who a client is.

`authenticate` (and `aauthenticate` on an event loop) cost at most one database query; for
CACHE_SECONDS the same process then answers from its cache. On an event loop, credentials that
arrive together are looked up together: after a restart many clients reconnect at once.
"""

import asyncio
import hashlib
import logging
import weakref
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connections
from django.db.models import Q
from django.utils import timezone
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.settings import api_settings

from realtime.access.batches import Batches
from realtime.access.cache import RecentCache
from realtime.access.credentials import Credential
from realtime.access.identity import (
    ANONYMOUS,
    Identity,
    identity_of_key,
    identity_of_token,
    identity_of_user,
    session_hashes,
    with_publish_permission,
)
from realtime.access.tickets import TicketsUnavailable, redeem
from realtime.access.tokens import (
    JTI_CLAIM,
    SESSION_CLAIM,
    Claims,
    SessionAccessToken,
    blacklisted,
    claims_of_user,
    ended_tokens,
    user_field,
    user_named_by,
)
from realtime.access.user_access import UserAccessFailed, forget_access
from realtime.db import reconnecting
from realtime.models import ApiKey, hash_secret
from realtime.users import UserId, active

logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 5.0
CACHE_SIZE: Final = 10_000
MAX_SECRET_LENGTH: Final = 4096
# What looking up a malformed user claim may raise. ValidationError: a number where the primary key
# is a UUID.
_ODD_CLAIM: Final = (KeyError, ValueError, TypeError, OverflowError, ValidationError)
# Seconds for which the connection of a batch stays open, and writes of `last_used` are deferred.
CROWD_SECONDS: Final = 0.25


class InvalidCredential(Exception):
    """Raised when a credential is not accepted.

    Wrong, unknown and revoked credentials get the same text. Only a token with our signature may be
    reported as expired.
    """

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__(expired)
        self.expired = expired

    def __str__(self) -> str:
        if self.expired:
            return "The token has expired. Refresh it, or obtain a new one."
        return "The credential is invalid, expired or revoked. Obtain a new one."


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """A credential as far as it can be checked without the database."""

    credential: Credential
    digest: bytes
    token: SessionAccessToken | None


# Keyed by the hash of the credential, so that memory holds no secrets either.
_recent: RecentCache[Identity] = RecentCache(CACHE_SECONDS, CACHE_SIZE)
_look_ups: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LookUps]" = (
    weakref.WeakKeyDictionary()
)


def authenticate(credential: Credential | None) -> Identity:
    """The identity behind a credential, ANONYMOUS for none.

    Raises InvalidCredential, TicketsUnavailable and UserAccessFailed.
    """
    if credential is None:
        return ANONYMOUS
    digest = _digest(credential)
    identity = _recalled(digest)
    if identity is None:
        identity, key = _look_up(_Question(credential, digest, _verify(credential)))
        _note_uses([key] if key is not None else [])
    return identity


async def aauthenticate(credential: Credential | None) -> Identity:
    """`authenticate` on an event loop: one thread hop when the cache is cold, none otherwise."""
    if credential is None:
        return ANONYMOUS
    digest = _digest(credential)
    identity = _recalled(digest)
    if identity is not None:
        return identity
    question = _Question(credential, digest, _verify(credential))
    loop = asyncio.get_running_loop()
    look_ups = _look_ups.get(loop)
    if look_ups is None:
        look_ups = _look_ups[loop] = _LookUps()
    return await look_ups.batches.ask(question)


def forget(
    *,
    credential_id: str | None = None,
    session_id: str | None = None,
    user_id: UserId | None = None,
) -> None:
    """Drop the cached identities of this credential, this login, this user, or all of them.

    Only in this process; other processes ask the database again after CACHE_SECONDS.
    """
    if credential_id is None and session_id is None and user_id is None:
        _recent.forget()
        forget_access()
        return
    if user_id is not None:
        forget_access(user_id)
    _recent.forget(
        lambda identity: (
            identity.credential_id == credential_id
            or (session_id is not None and identity.session_id == session_id)
            or (user_id is not None and identity.user_id == user_id)
        )
    )


def _recalled(digest: bytes) -> Identity | None:
    identity = _recent.get(digest)
    return None if identity is None or identity.is_expired(timezone.now()) else identity


def _digest(credential: Credential) -> bytes:
    if len(credential.secret) > MAX_SECRET_LENGTH or not credential.secret.isascii():
        raise InvalidCredential
    return hashlib.sha256(f"{credential.kind}:{credential.secret}".encode()).digest()


def _verify(credential: Credential) -> SessionAccessToken | None:
    """Checks of a JWT that need no database: signature, algorithm, type and expiry."""
    if credential.kind != "jwt":
        return None
    try:
        return SessionAccessToken(credential.secret)  # type: ignore[arg-type]
    except ExpiredTokenError as exc:
        raise InvalidCredential(expired=True) from exc
    # Claims of unexpected types, and a header nested too deep for the JSON parser.
    except (TokenError, ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise InvalidCredential from exc


# Looking up -----------------------------------------------------------------------------------


class _LookUps:
    """The look-ups of one event loop.

    The database connection stays open from batch to batch: opening one costs more than the query
    (and SQLite checkpoints its log when the last connection closes).
    """

    def __init__(self) -> None:
        self.batches = Batches(self._answer)
        self._used: list[ApiKey] = []
        self._finishing: asyncio.Task[None] | None = None

    async def _answer(self, questions: Sequence[_Question]) -> Sequence[Identity | Exception]:
        crowd = len(questions) > 1
        try:
            run = sync_to_async(_look_up_crowd) if crowd else database_sync_to_async(_look_up_all)
            answers, keys = await run(questions)
        except BaseException:
            self._finish(0.0)
            raise
        self._used += keys
        if crowd or keys:
            self._finish(CROWD_SECONDS if crowd else 0.0)
        return answers

    def _finish(self, after: float) -> None:
        """Store when keys were last used (no client waits for it), and close the connection."""
        if self._finishing is None:
            self._finishing = asyncio.create_task(self._finish_later(after))

    async def _finish_later(self, after: float) -> None:
        try:
            await asyncio.sleep(after)
            more = True
            while more:
                used, self._used = self._used, []
                await database_sync_to_async(_note_uses)(used)
                more = bool(self._used)
                if more:
                    await asyncio.sleep(CROWD_SECONDS)
        finally:
            self._finishing = None

    async def finished(self) -> None:
        """Wait until everything has been written."""
        while self._finishing is not None:
            await self._finishing


def _look_up_crowd(
    questions: Sequence[_Question],
) -> tuple[list[Identity | Exception], list[ApiKey]]:
    """`_look_up_all` on the connection that the batch before left open, unless it broke."""
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
    return _look_up_all(questions)


def _look_up_all(
    questions: Sequence[_Question],
) -> tuple[list[Identity | Exception], list[ApiKey]]:
    """An answer to each question, and the keys whose time of last use must be stored."""
    prepared = reconnecting(_Prepared)(questions) if len(questions) > 1 else None
    answers: list[Identity | Exception] = []
    used: list[ApiKey] = []
    for question in questions:
        try:
            identity, key = _look_up(question, prepared)
        except (InvalidCredential, TicketsUnavailable, UserAccessFailed) as exc:
            answers.append(exc)
            continue
        answers.append(identity)
        if key is not None:
            used.append(key)
    return answers, used


class _Prepared:
    """What a batch of questions needs from the database: one query for each kind of credential."""

    def __init__(self, questions: Sequence[_Question]) -> None:
        self.generation = _recent.generation
        self.keys = ApiKey.objects.find_many(
            {each.credential.secret for each in questions if each.credential.kind == "api_key"}
        )
        self._tokens = _users_of([each.token for each in questions if each.token is not None])

    def user_of(self, token: Claims) -> object:
        return find_user(token) if self._tokens is None else self._tokens.get(_name_of(token))


def _look_up(
    question: _Question, prepared: _Prepared | None = None
) -> tuple[Identity, ApiKey | None]:
    """The identity, and the key if its time of last use must be stored."""
    generation = _recent.generation if prepared is None else prepared.generation
    # Sockets of one credential that reconnect together wait here for the same thread.
    identity = _recalled(question.digest)
    if identity is not None:
        return identity, None
    secret = question.credential.secret
    if question.credential.kind == "ticket":
        return _look_up_grant(redeem(secret)), None
    key = None
    if question.token is not None:
        find = find_user if prepared is None else prepared.user_of
        identity = _check_token(find(question.token), question.token)
    else:
        find_key = reconnecting(ApiKey.objects.find) if prepared is None else prepared.keys.get
        key = find_key(secret)
        identity = _check_key(key, hash_secret(secret))
    _recent.put(question.digest, identity, generation)
    return identity, key


@reconnecting
def _look_up_grant(grant: Mapping[str, Any] | None) -> Identity:
    """The credential behind a ticket, if it would be accepted now."""
    if grant is None:
        raise InvalidCredential
    if "key_id" in grant:
        keys = ApiKey.objects.with_owners().filter(
            Q(hash=grant["secret_hash"]) | Q(previous_hash=grant["secret_hash"]),
            pk=grant["key_id"],
        )
        return _check_key(keys.first(), grant["secret_hash"])
    if JTI_CLAIM in grant:
        identity = _check_token(find_user(grant), grant)
        if identity.is_expired(timezone.now()):
            raise InvalidCredential(expired=True)
        return identity
    users = get_user_model()._default_manager.filter(
        ~blacklisted(grant), active(), pk=grant["session_of"]
    )
    user = users.first()
    if user is None or grant["secret_hash"] not in session_hashes(user):
        raise InvalidCredential
    return identity_of_user(user, grant.get(SESSION_CLAIM))


def _check_key(key: ApiKey | None, secret_hash: str) -> Identity:
    if key is None or not key.owner.is_active:
        raise InvalidCredential
    now = timezone.now()
    identity = identity_of_key(key, secret_hash)
    if key.status_at(now) != ApiKey.Status.ACTIVE or identity.is_expired(now):
        raise InvalidCredential
    return identity


def _check_token(user: object, token: Claims) -> Identity:
    if user is None:
        raise InvalidCredential
    if api_settings.CHECK_REVOKE_TOKEN:
        claim = api_settings.REVOKE_TOKEN_CLAIM
        if token.get(claim) != claims_of_user(user)[claim]:
            raise InvalidCredential
    return identity_of_token(user, token)


@reconnecting
def find_user(token: Claims) -> object:
    """The active user of a token that is not blacklisted, or None, with one query.

    Raises InvalidCredential for a claim that no user has.
    """
    users = with_publish_permission(get_user_model()._default_manager)
    try:
        named = {user_field(): user_named_by(token)}
        return users.filter(~blacklisted(token), active(), **named).first()
    except _ODD_CLAIM as exc:
        raise InvalidCredential from exc


def _name_of(token: Claims) -> tuple[str, str]:
    return str(token[JTI_CLAIM]), str(token[api_settings.USER_ID_CLAIM])


def _users_of(tokens: Sequence[Claims]) -> dict[tuple[str, str], object] | None:
    """What `find_user` finds for each token, by `_name_of`, with two queries.

    None if one of the tokens has a claim that cannot be a primary key.
    """
    if not tokens:
        return {}
    users = with_publish_permission(get_user_model()._default_manager).filter(active())
    try:
        named = {f"{user_field()}__in": {*map(user_named_by, tokens)}}
        found = {str(getattr(user, user_field())): user for user in users.filter(**named)}
        ended = ended_tokens(tokens)
    except _ODD_CLAIM:
        return None
    return {
        _name_of(token): found.get(str(user_named_by(token)))
        for token in tokens
        if token[JTI_CLAIM] not in ended
    }


def _note_uses(keys: Collection[ApiKey]) -> None:
    try:
        reconnecting(ApiKey.objects.touch)(keys, timezone.now())
    except DatabaseError as exc:
        # The credential is valid whether or not this write succeeds, and a client waits for the
        # answer.
        visible = ", ".join(key.visible for key in keys)
        reason = " ".join(str(exc).split())
        logger.warning("Could not note the use of %s: %s", visible, reason)
