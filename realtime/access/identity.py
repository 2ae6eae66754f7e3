"""A client's identity and rights; how a credential proves them is in authentication.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from django.contrib.auth.models import AbstractUser, AnonymousUser

from realtime.access.tokens import JTI_CLAIM, SESSION_CLAIM, Claims, claims_of_user
from realtime.access.user_access import Access, access_of
from realtime.conf import conf
from realtime.models import KEY_LIMITS, ApiKey, may_publish, reads_metrics
from realtime.models import with_publish_permission as with_publish_permission
from realtime.scopes import READ_SCOPES, matches
from realtime.users import user_id_of

Account = AbstractUser | AnonymousUser
IdentityKind = Literal["anonymous", "jwt", "api_key", "session"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A credential that was accepted.

    `symbols` limits a scope to the symbols that match one of its patterns; a scope that is not in
    it is for every symbol. `bounds` does the same for what the user, or the owner of the key, may
    do: a symbol has to match both. `allowed_origins` is empty where the key has none of its own.
    `credential_id` names the credential in logs, limits and revocations: `key:12`,
    `jwt:<jti>`, `session:7`, `anonymous`. It is not secret. `session_id` is what the tokens of one
    login have in common, or names the session of Django. `secret_hash` is the stored hash of the
    secret that was presented; for a session, a hash that changes with the user's password.
    """

    kind: IdentityKind
    user: Account
    scopes: frozenset[str]
    credential_id: str
    expires_at: datetime | None = None
    symbols: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    bounds: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    allowed_origins: tuple[str, ...] = ()
    key_id: int | None = None
    session_id: str | None = None
    secret_hash: str | None = field(default=None, repr=False)
    # The key's or user's own limits; 0: the server's limit. See limits/policy.py.
    max_connections: int = 0
    max_subscriptions: int = 0
    messages_per_second: int = 0
    publish_per_second: int = 0
    # Of the user, over all credentials.
    user_connections: int = 0

    @property
    def is_authenticated(self) -> bool:
        return self.kind != "anonymous"

    @property
    def user_id(self) -> Any:  # a UserId or None, which goes into any query
        return None if self.user.pk is None else user_id_of(self.user.pk)

    def allows(self, scope: str, symbol: str | None = None) -> bool:
        """May this client use the scope: at all, for this symbol, or (`*`) for every symbol?"""
        if scope not in self.scopes:
            return False
        if self.kind == "anonymous" and not conf.REALTIME_ALLOW_ANONYMOUS:
            return False
        if symbol is None:
            return True
        patterns, bounds = self.symbols.get(scope), self.bounds.get(scope)
        return (patterns is None or matches(patterns, symbol)) and (
            bounds is None or matches(bounds, symbol)
        )

    def is_limited(self, scope: str) -> bool:
        """Is the scope for some symbols only?"""
        return scope in self.symbols or scope in self.bounds

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def for_user(self, user: Any) -> "Identity":
        """The same credential with a changed `user`, who comes from `with_publish_permission`."""
        return replace(self, user=user, **_rights_of_user(user))


ANONYMOUS: Final = Identity("anonymous", AnonymousUser(), READ_SCOPES, "anonymous")


def credential_id_of_key(key: ApiKey) -> str:
    return f"key:{key.pk}"


def identity_of_key(key: ApiKey, secret_hash: str, access: Access | None = None) -> Identity:
    """`secret_hash` is of the secret that was presented: after a rotation a key has two.

    `access` is that of the owner, where it is known. Raises UserAccessFailed.
    """
    access = access_of(key.owner) if access is None else access
    # What an operator granted the key itself does not depend on the owner.
    granted = {"publish"} if key.publish_granted else set()
    limits: dict[str, Any] = {
        name: _smaller(getattr(key, name), access.limits[name])
        for name in KEY_LIMITS
        if name != "max_connections"
    }
    return Identity(
        kind="api_key",
        user=key.owner,
        scopes=key.scopes_now & (access.scopes | granted | {"metrics"}),
        credential_id=credential_id_of_key(key),
        expires_at=key.expiry_of(secret_hash),
        symbols={scope: tuple(patterns) for scope, patterns in key.symbols.items()},
        bounds={scope: each for scope, each in access.symbols.items() if scope not in granted},
        allowed_origins=tuple(key.allowed_origins),
        key_id=key.pk,
        secret_hash=secret_hash,
        max_connections=key.max_connections,
        user_connections=access.limits["max_connections"],
        **limits,
    )


def identity_of_token(user: Any, token: Claims) -> Identity:
    """`user` comes from `with_publish_permission`. Raises UserAccessFailed."""
    return Identity(
        kind="jwt",
        user=user,
        **_rights_of_user(user),
        credential_id=f"jwt:{token[JTI_CLAIM]}",
        expires_at=datetime.fromtimestamp(token["exp"], UTC),
        session_id=token.get(SESSION_CLAIM),
    )


def identity_of_user(user: Account, session_id: str | None = None) -> Identity:
    """A user who is logged in with a session, as in the admin; costs a query.

    Raises UserAccessFailed.
    """
    if not user.is_authenticated or user.pk is None:
        return ANONYMOUS
    return Identity(
        kind="session",
        user=user,
        **_rights_of_user(user),
        credential_id=f"session:{user.pk}",
        session_id=session_id,
        secret_hash=user.get_session_auth_hash(),
    )


def session_hashes(user: Any) -> set[str]:
    """The valid session hashes of this user: by SECRET_KEY and by each of SECRET_KEY_FALLBACKS."""
    return {user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()}


def _rights_of_user(user: Any) -> dict[str, Any]:
    """The fields of an Identity that say what a user may do; raises UserAccessFailed."""
    access = access_of(user)
    limits = {name: access.limits[name] for name in KEY_LIMITS if name != "max_connections"}
    scopes = access.scopes if may_publish(user) else access.scopes - {"publish"}
    return {
        "scopes": scopes | {"metrics"} if reads_metrics(user) else scopes,
        "bounds": access.symbols,
        "user_connections": access.limits["max_connections"],
        **limits,
    }


def _smaller(one: int, other: int) -> int:
    """The smaller one of two limits; 0 does not limit."""
    return min(one, other) if one and other else one or other


def grant_of(identity: Identity) -> dict[str, object]:
    """What a ticket says about the credential that it stands for; see authentication.py."""
    if identity.kind == "api_key":
        return {"key_id": identity.key_id, "secret_hash": identity.secret_hash}
    if identity.kind == "jwt" and identity.expires_at is not None:
        return {
            **claims_of_user(identity.user),
            JTI_CLAIM: identity.credential_id.removeprefix("jwt:"),
            "exp": identity.expires_at.timestamp(),
            **({} if identity.session_id is None else {SESSION_CLAIM: identity.session_id}),
        }
    return {
        "session_of": identity.user_id,
        "secret_hash": identity.secret_hash,
        **({} if identity.session_id is None else {SESSION_CLAIM: identity.session_id}),
    }
