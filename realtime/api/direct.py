"""Hot endpoints are answered in front of Django's handler: no thread, no middleware, no signals.

Only what succeeds is answered here, as its view answers it. Any other request goes on to the view:
one with a session, with a body that is not right, without the scope, above a limit. So every error
has one origin, and servers that do not run this answer alike.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import msgspec
from django.conf import settings
from django.core.handlers.asgi import get_script_prefix
from django.core.signals import setting_changed
from django.db import DatabaseError
from django.urls import Resolver404, resolve

from realtime.access.authentication import InvalidCredential, aauthenticate
from realtime.access.credentials import find_in_headers
from realtime.access.identity import Identity
from realtime.access.origins import page_allowed
from realtime.access.user_access import UserAccessFailed
from realtime.api.base import ApiView, Direct, Unconfirmed, ViewAnswers
from realtime.api.cors import answer_headers
from realtime.api.surroundings import headers_around
from realtime.api.urls import urlpatterns
from realtime.conf import conf

logger = logging.getLogger("django.request")

Application = Callable[[Any, Any, Any], Awaitable[None]]
Headers = Mapping[bytes, bytes]
HeaderList = list[tuple[bytes, bytes]]

# Paths that end otherwise are not looked up.
_ENDINGS: Final = ("/publish", "/ticket")
_JSON: Final = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"}
)
_ACCEPTED: Final = frozenset({b"*/*", b"application/json", b"application/*"})


class DirectEndpoints:
    """An ASGI application in front of Django's."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not scope["path"].endswith(_ENDINGS):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        try:
            start, content = await _answer(scope, body)
        except ViewAnswers:
            await self._app(scope, body.receive_again, send)
            return
        await send(start)
        await send({"type": "http.response.body", "body": content})


class _Body:
    """The body of a request, which the view can still read."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._received: list[Any] = []

    async def read(self) -> bytes:
        """All of it; raises ViewAnswers if its client goes away."""
        parts: list[bytes] = []
        more = True
        while more:
            message = await self._receive()
            self._received.append(message)
            if message["type"] != "http.request":
                raise ViewAnswers
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(parts)

    async def receive_again(self) -> Any:
        return self._received.pop(0) if self._received else await self._receive()


async def _answer(scope: Any, body: _Body) -> tuple[dict[str, Any], bytes]:
    """The begin and the content of the answer; raises ViewAnswers."""
    direct, fixed = _endpoint_of(scope)
    headers = _single(scope["headers"])
    around = headers_around(scope["scheme"], headers)
    if around is None or scope["method"] != direct.method or scope["query_string"]:
        raise ViewAnswers
    if not _accepts_json(headers.get(b"accept", b"*/*")) or b"idempotency-key" in headers:
        raise ViewAnswers
    identity = await _identify(headers)
    if not (direct.scope is None or identity.allows(direct.scope)):
        raise ViewAnswers
    status, content = direct.status, b""
    if direct.takes_json:
        _check_json(headers)
        content = await body.read()
    try:
        content = await direct.act(identity, content)
    except Unconfirmed as exc:
        status, content = HTTPStatus.SERVICE_UNAVAILABLE, msgspec.json.encode({"detail": str(exc)})
        logger.warning("%s: %s", status.phrase, scope["path"])
    length = (b"content-length", b"%d" % len(content))
    all_headers = [*fixed, *around, *_for_pages(headers), length]
    return {"type": "http.response.start", "status": int(status), "headers": all_headers}, content


def _endpoint_of(scope: Any) -> tuple[Direct, HeaderList]:
    prefix = str(get_script_prefix(scope) or "").rstrip("/")
    found = _find_endpoint(scope["path"].removeprefix(prefix), conf.ROOT_URLCONF)
    if found is None:
        raise ViewAnswers
    return found


@lru_cache(maxsize=256)
def _find_endpoint(path: str, urlconf: str) -> tuple[Direct, HeaderList] | None:
    """Of the view that the project's URLs name for this path, and nothing around it."""
    try:
        found = resolve(path, urlconf).func
    except Resolver404:
        return None
    if not any(pattern.callback is found for pattern in urlpatterns):
        return None  # not ours, or one that the project has put into a decorator
    view: type[ApiView] | None = getattr(found, "cls", None)
    direct = getattr(view, "direct", None)
    if view is None or direct is None:
        return None
    return direct, _encoded(
        {
            "content-type": "application/json",
            "cache-control": direct.cache_control,
            "vary": "Authorization, X-API-Key, Cookie, Origin",
            "allow": ", ".join(view().allowed_methods),
        }
    )


def _single(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name; one that came twice is for Django to join."""
    pairs = list(raw)
    headers = dict(pairs)
    if len(headers) != len(pairs):
        raise ViewAnswers
    return headers


def _accepts_json(accept: bytes) -> bool:
    return any(part.strip() in _ACCEPTED for part in accept.split(b","))


def _check_json(headers: Headers) -> None:
    size = headers.get(b"content-length", b"")
    most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if not size.isdigit() or (most is not None and int(size) > most):
        raise ViewAnswers
    if headers.get(b"content-type", b"").lower() not in _JSON:
        raise ViewAnswers


async def _identify(headers: Headers) -> Identity:
    """Who asks, by a credential that may be looked up twice; raises ViewAnswers."""
    credential = find_in_headers(headers.items())
    if credential is None or credential.kind == "ticket":
        raise ViewAnswers
    try:
        identity = await aauthenticate(credential)
    except (InvalidCredential, UserAccessFailed, DatabaseError) as exc:
        raise ViewAnswers from exc
    own, origin = identity.allowed_origins, headers.get(b"origin")
    if own and origin is not None and not page_allowed(origin.decode("latin-1"), own):
        raise ViewAnswers
    return identity


def _for_pages(headers: Headers) -> HeaderList:
    origin = headers.get(b"origin")
    return [] if origin is None else _encoded(answer_headers(origin.decode("latin-1")))


def _encoded(headers: Mapping[str, str]) -> HeaderList:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def _forget(**_: object) -> None:
    _find_endpoint.cache_clear()


setting_changed.connect(_forget)
