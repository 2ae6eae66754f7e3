"""Authentication of the REST API, with the credentials and scopes of the WebSockets."""

from collections.abc import Mapping

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from realtime.access.addresses import is_within
from realtime.access.authentication import InvalidCredential, authenticate
from realtime.access.credentials import find_in_headers
from realtime.access.identity import ANONYMOUS, Account, Identity, identity_of_user
from realtime.access.origins import page_allowed
from realtime.access.tokens import session_id_of
from realtime.conf import conf


class CredentialAuthentication(BaseAuthentication):
    """`Authorization: Bearer …`, `Authorization: Api-Key …` or `X-API-Key: …`.

    The query string is not read: URLs of ordinary requests end up in histories and logs.
    `request.user` is the JWT's user or the key's owner, `request.auth` the Identity.
    """

    def authenticate(self, request: Request) -> tuple[Account, Identity] | None:
        headers = [
            (name, request.META[key].encode("latin-1", "replace"))
            for name, key in (
                (b"authorization", "HTTP_AUTHORIZATION"),
                (b"x-api-key", "HTTP_X_API_KEY"),
            )
            if key in request.META
        ]
        credential = find_in_headers(headers)
        if credential is None:
            return None
        try:
            identity = authenticate(credential)
        except InvalidCredential as exc:
            raise AuthenticationFailed(str(exc)) from exc
        _check_origin(request.META.get("HTTP_ORIGIN"), identity)
        return identity.user, identity

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def _check_origin(origin: str | None, identity: Identity) -> None:
    """A key's own list of origins applies as for sockets; CORS has checked the server's list."""
    own = identity.allowed_origins
    if own and origin is not None and not page_allowed(origin, own):
        raise PermissionDenied("Pages of this Origin may not use this key; its own list says so.")


def identity_of(request: Request) -> Identity:
    """Identifies the client: by credential, or by the session of a logged-in user."""
    if isinstance(request.auth, Identity):
        return request.auth
    # The project's UNAUTHENTICATED_USER may be None.
    identity = (
        ANONYMOUS
        if request.user is None
        else identity_of_user(request.user, session_id_of(request))
    )
    if identity.is_authenticated:
        request.auth = identity  # evaluated once per request
    return identity


class HasScope(BasePermission):
    """The base of permissions; a subclass names the scope that a view requires."""

    scope: str

    def has_permission(self, request: Request, view: object) -> bool:
        self.message = f"This credential lacks the scope {self.scope}."
        return identity_of(request).allows(self.scope)


class HasPublishScope(HasScope):
    scope = "publish"


class HasMarketDataScope(HasScope):
    scope = "market-data"


class HasPredictionsScope(HasScope):
    scope = "predictions"


class ReadsMetrics(BasePermission):
    """Staff, a key with the scope `metrics`, or a client in REALTIME_METRICS_NETWORKS."""

    message = (
        "Metrics and statistics are for staff, keys with the scope metrics, and clients in "
        "REALTIME_METRICS_NETWORKS."
    )

    def has_permission(self, request: Request, view: object) -> bool:
        return identity_of(request).allows("metrics") or _is_local(request.META)


def _is_local(meta: Mapping[str, object]) -> bool:
    networks = conf.REALTIME_METRICS_NETWORKS
    if not networks:
        return False
    headers = [
        (name.removeprefix("HTTP_").replace("_", "-").lower().encode(), str(value).encode())
        for name, value in meta.items()
        if name.startswith("HTTP_")
    ]
    return is_within(networks, (meta.get("REMOTE_ADDR") or "", 0), headers)


class IsUser(BasePermission):
    """A user with a token or a session: a leaked key must not create keys or end logins."""

    message = "This takes a token or a session, not a key."

    def has_permission(self, request: Request, view: object) -> bool:
        return identity_of(request).kind in ("jwt", "session")
