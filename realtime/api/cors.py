"""CORS of the REST API: the rules of the WebSockets decide which pages may call it.

Cookies are not allowed: a page of another origin authenticates with a token or a key.
"""

from collections.abc import Callable
from functools import wraps
from typing import Final

from corsheaders import middleware
from corsheaders.defaults import default_headers, default_methods
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, URLPattern, resolve
from django.utils.cache import patch_vary_headers

from realtime.access.origins import page_allowed

_View = Callable[..., HttpResponseBase]

# Headers that clients may send, and headers that scripts may read in an answer.
REQUEST_HEADERS: Final = (*default_headers, "idempotency-key", "last-event-id", "x-api-key")
RESPONSE_HEADERS: Final = (
    "idempotency-replayed", "location", "retry-after",
    "ratelimit", "ratelimit-policy", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
)  # fmt: skip
_ALLOW: Final = middleware.ACCESS_CONTROL_ALLOW_ORIGIN
_EXPOSED: Final = {middleware.ACCESS_CONTROL_EXPOSE_HEADERS: ", ".join(RESPONSE_HEADERS)}
_PREFLIGHT: Final = {
    middleware.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(REQUEST_HEADERS),
    middleware.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(default_methods),
    middleware.ACCESS_CONTROL_MAX_AGE: "3600",  # seconds; browsers keep it for two hours at most
}
_ALL_NAMES: Final = "access-control-"
_MARK: Final = "answers_other_origins"


def answer_headers(origin: str, *, preflight: bool = False) -> dict[str, str]:
    """Headers that let a page of this origin read an answer; none if it may not."""
    if not page_allowed(origin):
        return {}
    return {_ALLOW: origin, **(_PREFLIGHT if preflight else _EXPOSED)}


def answer_other_origins(patterns: list[URLPattern]) -> list[URLPattern]:
    """Give these URLs their CORS headers, whichever project includes them."""
    for pattern in patterns:
        pattern.callback = _with_cors(pattern.callback)
    return patterns


def _with_cors(view: _View) -> _View:
    @wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        cors = ApiCorsMiddleware(lambda request: view(request, *args, **kwargs))
        response = cors(request)
        assert isinstance(response, HttpResponseBase)  # all views of the API are synchronous
        return response

    vars(answer)[_MARK] = True
    return answer


class ApiCorsMiddleware(middleware.CorsMiddleware):
    """Serves the URLs of the API only, whatever CORS_* settings the project has for its others.

    Projects list it in MIDDLEWARE before their own CorsMiddleware, which would otherwise answer
    preflights of the API by the project's settings. Pages can then read errors of middleware, too.
    """

    def is_enabled(self, request: HttpRequest) -> bool:
        try:
            match = request.resolver_match or resolve(
                request.path_info, getattr(request, "urlconf", None)
            )
        except Resolver404:
            return False
        return _MARK in getattr(match.func, "__dict__", ())

    def add_response_headers(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if not self.is_enabled(request):
            return response
        for name in [name for name in response.headers if name.lower().startswith(_ALL_NAMES)]:
            del response[name]
        patch_vary_headers(response, ("Origin",))
        origin = request.headers.get("Origin", "")
        headers = answer_headers(origin, preflight=request.method == "OPTIONS")
        for name, value in headers.items():
            response[name] = value
        return response
