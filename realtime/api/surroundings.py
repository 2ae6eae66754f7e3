"""Headers that the project's middleware adds to every answer, for answers that bypass it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware

from realtime.compression import MIN_BYTES, CompressAnswers
from realtime.conf import conf

_Headers = tuple[tuple[bytes, bytes], ...]

_SECURITY: Final = "django.middleware.security.SecurityMiddleware"
_COMPRESSION: Final = "realtime.compression.CompressAnswers"
_FRAMES: Final = "django.middleware.clickjacking.XFrameOptionsMiddleware"
# The middleware that `startproject` and this app list. None of it refuses a request with a
# credential that a view would answer, apart from what `_headers_around` checks.
_KNOWN: Final = frozenset(
    {
        _SECURITY,
        _FRAMES,
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "corsheaders.middleware.CorsMiddleware",
        "realtime.api.cors.ApiCorsMiddleware",
        "realtime.api.health.answer_probes",
        _COMPRESSION,
        "servestatic.middleware.ServeStaticMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
    }
)


class _Request(HttpRequest):
    def __init__(self, scheme: str, headers: _Headers) -> None:
        super().__init__()
        self._asgi_scheme = scheme
        for name, value in headers:
            self.META[f"HTTP_{name.decode().replace('-', '_').upper()}"] = value.decode("latin-1")

    def _get_scheme(self) -> str:
        return self._asgi_scheme


def headers_around(scheme: str, headers: Mapping[bytes, bytes]) -> _Headers | None:
    """The headers that middleware adds; None if requests must not bypass it."""
    names = _names_read()
    return _headers_around(
        scheme, tuple((name, headers[name]) for name in names if name in headers)
    )


@lru_cache(maxsize=1)
def _names_read() -> tuple[bytes, ...]:
    """Headers that name the host and the scheme of a request."""
    header = settings.SECURE_PROXY_SSL_HEADER
    proxy = [] if header is None else [header[0].removeprefix("HTTP_").replace("_", "-")]
    return tuple(
        name.lower().encode() for name in ("host", "x-forwarded-host", "x-forwarded-port", *proxy)
    )


@lru_cache(maxsize=1024)
def _headers_around(scheme: str, headers: _Headers) -> _Headers | None:
    if not _may_pass_by():
        return None
    request, response = _Request(scheme, headers), HttpResponse()
    try:
        request.get_host()
    except (DisallowedHost, KeyError):  # KeyError if there is no Host
        return None
    if settings.SECURE_SSL_REDIRECT and not request.is_secure():
        return None
    before = set(response.headers)
    for name, middleware in ((_SECURITY, SecurityMiddleware), (_FRAMES, XFrameOptionsMiddleware)):
        if name in settings.MIDDLEWARE:
            middleware(lambda _: response).process_response(request, response)
    return tuple(
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in response.headers.items()
        if name not in before
    )


def compressed(
    headers: Mapping[bytes, bytes], answer: list[tuple[bytes, bytes]], content: bytes
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the content of an answer to GET as CompressAnswers leaves them."""
    if len(content) < MIN_BYTES or _COMPRESSION not in settings.MIDDLEWARE:
        return answer, content
    request, response = HttpRequest(), HttpResponse(content)
    request.method = "GET"
    request.META["HTTP_ACCEPT_ENCODING"] = headers.get(b"accept-encoding", b"").decode("latin-1")
    for name, value in answer:
        response[name.decode()] = value.decode("latin-1")
    CompressAnswers(lambda _: response).process_response(request, response)
    pairs = response.headers.items()
    return [
        (name.lower().encode(), value.encode("latin-1")) for name, value in pairs
    ], response.content


def _may_pass_by() -> bool:
    """Whether requests may bypass the project's middleware."""
    wanted: str = conf.REALTIME_DIRECT_HTTP
    if wanted == "auto":
        unknown = not _KNOWN.issuperset(settings.MIDDLEWARE)
        return not (unknown or settings.PREPEND_WWW or settings.DISALLOWED_USER_AGENTS)
    return wanted == "always"


def _forget(**_: object) -> None:
    _names_read.cache_clear()
    _headers_around.cache_clear()


setting_changed.connect(_forget)
