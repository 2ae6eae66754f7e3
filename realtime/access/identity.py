"""Who a client is, what it may do, and how a credential proves it.

`authenticate` (and `aauthenticate` on an event loop) cost one database query at most; for
CACHE_SECONDS the same process answers without any.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, AnonymousUser, Permission
from django.db import DatabaseError
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.tokens import AccessToken

from realtime.access.cache import RecentCache
from realtime.access.credentials import Credential
from realtime.access.tickets import redeem
from realtime.access.tokens import SESSION_CLAIM, Claims, blacklisted
from realtime.models import KEY_LIMITS, ApiKey, hash_secret
from realtime.scopes import READ_SCOPES, SCOPES, matches

logger = logging.getLogger(__name__)

CACHE_SECONDS: Final = 5.0
CACHE_SIZE: Final = 10_000
MAX_SECRET_LENGTH: Final = 4096
Account = AbstractUser | AnonymousUser
IdentityKind = Literal["anonymous", "jwt", "api_key", "session"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A credential that was accepted.

    `symbols` limits a scope to the symbols that match one of its patterns; a scope that is not in
    it is for every symbol. `allowed_origins` is empty where the key has no list of its own.
    `credential_id` names the credential in logs, limits and revocations: `key:12`,
    `jwt:<jti>`, `session:7`, `anonymous`. It is not secret. `session_id` is what the tokens of one
    login have in common; `secret_hash` is the stored hash of the key's secret that was presented.
    """

    kind: IdentityKind
    user: Account
    scopes: frozenset[str]
    credential_id: str
    expires_at: datetime | None = None
    symbols: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    allowed_origins: tuple[str, ...] = ()
    key_id: int | None = None
    key_prefix: str | None = None
    session_id: str | None = None
    secret_hash: str | None = field(default=None, repr=False)
    # The key's own limits; 0: as set for the server. See access/limits.py.
    max_connections: int = 0
    max_subscriptions: int = 0
    messages_per_second: int = 0
    publish_per_second: int = 0

    @property
    def is_authenticated(self) -> bool:
        return self.kind != "anonymous"

    @property
    def user_id(self) -> int | None:
        return self.user.pk

    def allows(self, scope: str, symbol: str | None = None) -> bool:
        """May this one use the scope: at all, for this symbol, or (`*`) for every symbol?"""
        if scope not in self.scopes:
            return False
        if self.kind == "anonymous" and not settings.REALTIME_ALLOW_ANONYMOUS:
            return False
        patterns = self.symbols.get(scope)
        return symbol is None or patterns is None or matches(patterns, symbol)

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def for_user(self, user: Any) -> "Identity":
        """The same credential after its user changed: one of `with_publish_permission`."""
        return replace(self, user=user, scopes=_scopes_of_user(may_publish=_may_publish(user)))


ANONYMOUS: Final = Identity("anonymous", AnonymousUser(), READ_SCOPES, "anonymous")


def credential_id_of_key(key: ApiKey) -> str:
    return f"key:{key.pk}"


def identity_of_key(key: ApiKey, secret_hash: str) -> Identity:
    """`secret_hash` is that of the secret presented: after a rotation there are two."""
    return Identity(
        kind="api_key",
        user=key.owner,
        scopes=frozenset(key.scopes),
        credential_id=credential_id_of_key(key),
        expires_at=key.expiry_of(secret_hash),
        symbols={scope: tuple(patterns) for scope, patterns in key.symbols.items()},
        allowed_origins=tuple(key.allowed_origins),
        key_id=key.pk,
        key_prefix=key.visible,
        secret_hash=secret_hash,
        **{name: getattr(key, name) for name in KEY_LIMITS},
    )


def identity_of_token(user: Any, token: Claims) -> Identity:
    """`user` is one of `with_publish_permission`."""
    return Identity(
        kind="jwt",
        user=user,
        scopes=_scopes_of_user(may_publish=_may_publish(user)),
        credential_id=f"jwt:{token['jti']}",
        expires_at=datetime.fromtimestamp(token["exp"], UTC),
        session_id=token.get(SESSION_CLAIM),
    )


def identity_of_user(user: Account) -> Identity:
    """Somebody who is logged in with a session, as in the admin; costs the permission queries."""
    if not user.is_authenticated or user.pk is None:
        return ANONYMOUS
    may_publish = getattr(user, "is_staff", False) or user.has_perm("realtime.publish")
    return Identity(
        kind="session",
        user=user,
        scopes=_scopes_of_user(may_publish=may_publish),
        credential_id=f"session:{user.pk}",
    )


def with_publish_permission(users: Any) -> Any:
    """Users (a manager or a query set) that know whether they may publish, in the one query."""
    permission = Permission.objects.filter(
        Q(user=OuterRef("pk")) | Q(group__user=OuterRef("pk")),
        content_type__app_label="realtime",
        codename="publish",
    )
    return users.annotate(has_publish_permission=Exists(permission))


def _may_publish(user: Any) -> bool:
    return bool(user.has_publish_permission or user.is_staff or user.is_superuser)


def _scopes_of_user(*, may_publish: bool) -> frozenset[str]:
    return frozenset(SCOPES) if may_publish else READ_SCOPES


def grant_of(identity: Identity) -> dict[str, Any]:
    """What a ticket says about the credential that it stands for; see `_look_up_grant`."""
    if identity.kind == "api_key":
        return {"key_id": identity.key_id, "secret_hash": identity.secret_hash}
    if identity.kind == "jwt" and identity.expires_at is not None:
        return {
            "user_id": identity.user_id,
            "jti": identity.credential_id.removeprefix("jwt:"),
            "exp": identity.expires_at.timestamp(),
            **({} if identity.session_id is None else {SESSION_CLAIM: identity.session_id}),
        }
    return {"session_of": identity.user_id}


class InvalidCredential(Exception):
    """Raised when a credential is not accepted.

    Wrong, unknown and revoked read the same. Only a token that we did sign may say `expired`.
    """

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__(expired)
        self.expired = expired

    def __str__(self) -> str:
        if self.expired:
            return "The token has expired. Refresh it, or obtain a new one."
        return "The credential is invalid, expired or revoked. Obtain a new one."


# By hash of the credential: memory holds no secrets either.
_recent: RecentCache[Identity] = RecentCache(CACHE_SECONDS, CACHE_SIZE)
# Strong references: the event loop keeps only weak ones.
_background: set[asyncio.Task[None]] = set()


def authenticate(credential: Credential | None) -> Identity:
    """The identity behind a credential, ANONYMOUS for none; raises InvalidCredential."""
    if credential is None:
        return ANONYMOUS
    digest = _digest(credential)
    identity = _recalled(digest)
    if identity is None:
        identity, key = _look_up(credential, digest, _verify(credential))
        _note_use(key)
    return identity


async def aauthenticate(credential: Credential | None) -> Identity:
    """`authenticate` on an event loop: one thread hop when the cache is cold, none otherwise."""
    if credential is None:
        return ANONYMOUS
    digest = _digest(credential)
    identity = _recalled(digest)
    if identity is None:
        token = _verify(credential)
        identity, key = await database_sync_to_async(_look_up)(credential, digest, token)
        if key is not None:
            # The client need not wait for this write.
            task = asyncio.create_task(database_sync_to_async(_note_use)(key))
            _background.add(task)
            task.add_done_callback(_background.discard)
    return identity


def forget(
    *,
    credential_id: str | None = None,
    session_id: str | None = None,
    user_id: int | None = None,
) -> None:
    """Ask the database again for this credential, this login, this user, or for all.

    For this process; others ask again after CACHE_SECONDS.
    """
    if credential_id is None and session_id is None and user_id is None:
        _recent.forget()
        return
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


def _verify(credential: Credential) -> AccessToken | None:
    """All that can be said without the database: signature, algorithm, type and expiry of a JWT."""
    if credential.kind != "jwt":
        return None
    try:
        return AccessToken(credential.secret)  # type: ignore[arg-type]
    except ExpiredTokenError as exc:
        raise InvalidCredential(expired=True) from exc
    # Claims of odd types, and a header nested deeper than the JSON parser goes.
    except (TokenError, ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise InvalidCredential from exc


def _look_up(
    credential: Credential, digest: bytes, token: AccessToken | None
) -> tuple[Identity, ApiKey | None]:
    """The identity, and the key if its use is to be noted."""
    generation = _recent.generation
    # Sockets of one credential that reconnect together wait here for the same thread.
    identity = _recalled(digest)
    if identity is not None:
        return identity, None
    if credential.kind == "ticket":
        return _look_up_grant(redeem(credential.secret)), None
    key = None
    if token is not None:
        identity = _look_up_token(token)
    else:
        key = ApiKey.objects.find(credential.secret)
        identity = _check_key(key, hash_secret(credential.secret))
    _recent.put(digest, identity, generation)
    return identity, key


def _look_up_grant(grant: Mapping[str, Any] | None) -> Identity:
    """The credential behind a ticket, if it would be accepted now."""
    if grant is None:
        raise InvalidCredential
    if "key_id" in grant:
        keys = ApiKey.objects.select_related("owner").filter(
            Q(hash=grant["secret_hash"]) | Q(previous_hash=grant["secret_hash"]),
            pk=grant["key_id"],
        )
        return _check_key(keys.first(), grant["secret_hash"])
    if "jti" in grant:
        identity = _look_up_token(grant)
        if identity.is_expired(timezone.now()):
            raise InvalidCredential(expired=True)
        return identity
    user = get_user_model()._default_manager.filter(pk=grant["session_of"], is_active=True).first()
    if user is None:
        raise InvalidCredential
    return identity_of_user(user)


def _check_key(key: ApiKey | None, secret_hash: str) -> Identity:
    if key is None or not key.owner.is_active:
        raise InvalidCredential
    now = timezone.now()
    identity = identity_of_key(key, secret_hash)
    if key.status_at(now) != ApiKey.Status.ACTIVE or identity.is_expired(now):
        raise InvalidCredential
    return identity


def _look_up_token(token: Claims) -> Identity:
    users = with_publish_permission(get_user_model()._default_manager)
    try:
        user: Any = users.filter(~blacklisted(token), pk=token["user_id"], is_active=True).first()
    except (KeyError, ValueError, TypeError, OverflowError) as exc:
        raise InvalidCredential from exc
    if user is None:
        raise InvalidCredential
    return identity_of_token(user, token)


def _note_use(key: ApiKey | None) -> None:
    if key is None:
        return
    try:
        key.touch(timezone.now())
    except DatabaseError:
        # The credential is good, and somebody waits for an answer.
        logger.warning("Could not note the use of %s", key.visible, exc_info=True)
