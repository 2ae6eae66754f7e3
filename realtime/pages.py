"""Our pages: what browsers may do with them, and filters that their lists refuse.

The URLs bring this along, so that it holds in any project, and for pages of ours alone.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from csp.constants import NONCE, NONE, SELF
from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver
from django.utils.decorators import decorator_from_middleware

# Everything comes from here, sockets of this host as well. A script in a page needs the nonce of
# django-csp, which a project may use in its templates of the admin. `data:` are the icons in
# Swagger's styles.
POLICY: Final = {
    "default-src": [NONE],
    "script-src": [SELF, NONCE],
    "style-src": [SELF, NONCE],
    "img-src": [SELF, "data:"],
    "font-src": [SELF],
    "connect-src": [SELF],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
    "base-uri": [NONE],
}
# As Django's middleware has them by default, for projects without it.
_HEADERS: Final = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

# A search is a condition for each word and field; SQLite takes no more than 1000 in a row, and
# patterns of 50,000 bytes.
MAX_WORDS: Final = 50
MAX_LENGTH: Final = 1000
_ADDRESSES: Final = ("next", "_changelist_filters")  # where to go afterwards


def csrf_header() -> str:
    """The header in which scripts of a page send its `csrf_token`."""
    return settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")


class PageGuard(CSPMiddleware):
    """Gives a page its Content-Security-Policy and its like, and bounds lists of the admin.

    For views, not for MIDDLEWARE: pages of the project are not touched, nor are its settings.
    """

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        nonce = getattr(request, "_csp_nonce", None)
        return PolicyParts({} if report_only else POLICY, nonce=nonce)

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        for name, value in _HEADERS.items():
            response.setdefault(name, value)
        return super().process_response(request, response)

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: Mapping[str, object]
    ) -> HttpResponse | None:
        """400 for what the database would take too long for in a list, or not take."""
        if "exception" in kwargs:
            return None  # the page of an error, which reading these parameters may have raised
        problem = next(filter(None, map(_problem, request.GET.items())), None)
        if problem is None or not _is_admin(request):
            return None
        return HttpResponse(problem, status=400, content_type="text/plain")

    def process_exception(self, request: HttpRequest, exc: Exception) -> HttpResponse | None:
        """400 for a filter of a list that was written by hand: a year 0, a NUL, 30 digits."""
        match = request.resolver_match
        if match is None or not _is_admin(request) or not request.GET:
            return None
        listed = str(match.url_name).endswith(("_changelist", "_export", "autocomplete"))
        if not listed or not isinstance(exc, ValueError | OverflowError | DataError):
            return None
        return HttpResponse("No list has values like these.", status=400, content_type="text/plain")


guard_page = decorator_from_middleware(PageGuard)


def guard_urls(patterns: Iterable[URLPattern | URLResolver]) -> None:
    """Guard all pages of these URLs, and of those that they include."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            guard_urls(pattern.url_patterns)
        else:
            pattern.callback = guard_page(pattern.callback)


def _is_admin(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and "admin" in match.app_names


def _problem(parameter: tuple[str, Any]) -> str | None:
    name, value = parameter
    if name.endswith("regex"):  # SQLite matches in Python, however long it takes
        return f"{name[:100]}: lists are not filtered by regular expressions."
    if len(value) > MAX_LENGTH and name not in _ADDRESSES:
        return f"{name[:100]}: {len(value)} characters; the limit is {MAX_LENGTH}."
    if len(value.split()) > MAX_WORDS and name in ("q", "term"):
        return f"{name}: search for {MAX_WORDS} words at most."
    return None
