"""Answers hot endpoints in front of Django's handler: no thread, no middleware, no signals.

Each endpoint has one core function, which its view calls, too; only successful publishing has a
faster way. Any other request goes on to the view, for instance one with a session, without the
scope, or with a body that is not JSON. So every error has one origin, and servers that do not run
this module give the same answers.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from channels.db import database_sync_to_async
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import get_script_prefix
from django.core.signals import setting_changed
from django.db import DatabaseError
from django.http import HttpRequest, QueryDict
from django.urls import Resolver404, resolve
from rest_framework.settings import api_settings
from rest_framework.utils import json

from realtime.access.authentication import InvalidCredential, aauthenticate
from realtime.access.credentials import find_in_headers
from realtime.access.identity import Identity
from realtime.access.origins import page_allowed
from realtime.access.user_access import UserAccessFailed
from realtime.api.answers import Answer
from realtime.api.base import (
    CACHE_CONTROL,
    ApiView,
    Direct,
    FiniteJSONRenderer,
    ViewAnswers,
    handle_exception,
)
from realtime.api.cors import answer_headers
from realtime.api.counting import count_request
from realtime.api.surroundings import compressed, headers_around
from realtime.api.urls import urlpatterns
from realtime.conf import conf
from realtime.delivery.totals import published_by

logger = logging.getLogger("django.request")

Application = Callable[[Any, Any, Any], Awaitable[None]]
Headers = Mapping[bytes, bytes]
HeaderList = list[tuple[bytes, bytes]]

# Paths with other endings are not looked up.
_ENDINGS: Final = ("/publish", "/predictions", "/ticket", "/latest")
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
        body, began = _Body(receive), time.perf_counter()
        try:
            endpoint = _endpoint_of(scope)
            with published_by("api"):
                start, content = await _answer(endpoint, scope, body)
        except ViewAnswers:
            await self._app(scope, body.receive_again, send)
            return
        await send(start)
        await send({"type": "http.response.body", "body": content})
        count_request(endpoint.route, scope["method"], start["status"], began)


class _Body:
    """The body of a request, which the view can still read."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._received: list[Any] = []

    async def read(self) -> bytes:
        """The whole body; raises ViewAnswers if its client goes away."""
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


async def _answer(endpoint: "_Endpoint", scope: Any, body: _Body) -> tuple[dict[str, Any], bytes]:
    """The start and the content of the answer; raises ViewAnswers."""
    direct = endpoint.direct
    headers = _single(scope["headers"])
    around = headers_around(scope["scheme"], headers)
    if around is None or scope["method"] != direct.method:
        raise ViewAnswers
    query = _query_of(direct, scope["query_string"])
    if not _accepts_json(headers.get(b"accept", b"*/*")):
        raise ViewAnswers
    identity = await _identify(headers)
    if not (direct.scope is None or identity.allows(direct.scope)):
        raise ViewAnswers
    content = b""
    if direct.takes_json:
        _check_json(headers)
        content = await body.read()
    if query is None:
        status, content, more = await _act(direct, identity, content, headers)
    else:
        status, content, more = await _read(direct, identity, query)
    cache_control = direct.cache_control
    if status >= HTTPStatus.BAD_REQUEST:
        logger.warning("%s: %s", HTTPStatus(status).phrase, scope["path"])
        cache_control = CACHE_CONTROL
    all_headers = [
        *endpoint.headers, (b"content-length", b"%d" % len(content)),
        (b"cache-control", cache_control.encode()), *more, *around, *_for_pages(headers),
    ]  # fmt: skip
    if query is not None and status == HTTPStatus.OK:
        all_headers, content = compressed(headers, all_headers, content)
    return {"type": "http.response.start", "status": status, "headers": all_headers}, content


def _query_of(direct: Direct, text: bytes) -> QueryDict | None:
    """The query of an endpoint that reads; raises ViewAnswers where DRF or Django reads it, too."""
    if direct.read is None:
        if text:
            raise ViewAnswers
        return None
    try:
        query = QueryDict(text.decode())
    except (UnicodeDecodeError, SuspiciousOperation) as exc:
        raise ViewAnswers from exc
    if api_settings.URL_FORMAT_OVERRIDE in query:
        raise ViewAnswers
    return query


async def _read(
    direct: Direct, identity: Identity, query: QueryDict
) -> tuple[int, bytes, HeaderList]:
    """The status, the content and more headers."""
    try:
        if direct.aread is not None:
            return _rendered(Answer(direct.status, await direct.aread(identity, query)))
    except ViewAnswers:
        pass
    assert direct.read is not None
    read = direct.read
    return _rendered(
        await database_sync_to_async(_run)(lambda: Answer(direct.status, read(identity, query)))
    )


async def _act(
    direct: Direct, identity: Identity, body: bytes, headers: Headers
) -> tuple[int, bytes, HeaderList]:
    """The status, the content and more headers; raises ViewAnswers."""
    key = headers.get(b"idempotency-key")
    try:
        if direct.act is not None and key is None:
            return direct.status, await direct.act(identity, body), []
    except ViewAnswers:
        if direct.core is None:
            raise
    except Exception as exc:
        return _rendered(_refusal(exc))
    if direct.core is None:
        raise ViewAnswers
    data, text = _parsed(body), None if key is None else key.decode("latin-1")
    work = partial(direct.core, identity, data, text)
    return _rendered(await database_sync_to_async(_run)(work))


def _parsed(body: bytes) -> object:
    """The body as the view's parser reads it; raises ViewAnswers if the view would refuse it."""
    try:
        parsed: object = json.loads(body.decode())
    except (ValueError, RecursionError) as exc:
        raise ViewAnswers from exc
    return parsed


def _run(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except Exception as exc:
        return _refusal(exc)


def _refusal(exc: Exception) -> Answer:
    """The view's answer to an exception; raises it again if the view would not handle it."""
    response = handle_exception(exc, {})
    if response is None:
        raise exc
    more = {name: value for name, value in response.items() if name != "Content-Type"}
    return Answer(response.status_code, response.data, more)


def _rendered(answer: Answer) -> tuple[int, bytes, HeaderList]:
    content: bytes = FiniteJSONRenderer().render(answer.body)
    return answer.status, content, _encoded(answer.headers)


class _Endpoint(NamedTuple):
    direct: Direct
    headers: HeaderList
    route: str


def _endpoint_of(scope: Any) -> _Endpoint:
    prefix = str(get_script_prefix(scope) or "").rstrip("/")
    found = _find_endpoint(scope["path"].removeprefix(prefix), conf.ROOT_URLCONF)
    if found is None:
        raise ViewAnswers
    return found


@lru_cache(maxsize=256)
def _find_endpoint(path: str, urlconf: str) -> _Endpoint | None:
    """The endpoint of the view for this path, unless the project has wrapped the view."""
    try:
        match = resolve(path, urlconf)
    except Resolver404:
        return None
    found = match.func
    if not any(pattern.callback is found for pattern in urlpatterns):
        return None  # not ours, or wrapped in a decorator by the project
    view: type[ApiView] | None = getattr(found, "cls", None)
    direct = getattr(view, "direct", None)
    if view is None or direct is None:
        return None
    instance = view()
    instance.setup(HttpRequest())  # setup() adds HEAD where there is a GET
    headers = {
        "content-type": "application/json",
        "vary": "Authorization, X-API-Key, Cookie, Origin",
        "allow": ", ".join(instance.allowed_methods),
    }
    return _Endpoint(direct, _encoded(headers), match.route)


def _single(raw: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers by name; raises ViewAnswers for repeated ones, which Django joins."""
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
    """The client, by a credential that may be looked up twice; raises ViewAnswers."""
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
