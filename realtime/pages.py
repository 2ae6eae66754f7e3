"""Security headers of our pages, and filters that their lists refuse."""

from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

# Everything comes from here: pages with a script or a style of their own in them need a header of
# their own too. `data:` are the icons in Swagger's styles.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADER: Final = "Content-Security-Policy"

# A search is a condition for each word and field; SQLite takes no more than 1000 in a row, and
# patterns of 50,000 bytes.
MAX_WORDS: Final = 50
MAX_LENGTH: Final = 1000
_ADDRESSES: Final = ("next", "_changelist_filters")  # where to go afterwards

_GetResponse = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def guard_pages(get_response: _GetResponse) -> _GetResponse:
    """Gives pages of ours and of the admin their Content-Security-Policy, and bounds its lists."""

    async def guard_async(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await get_response(request)
        return _with_policy(request, response)

    def guard_sync(request: HttpRequest) -> HttpResponseBase:
        return _with_policy(request, get_response(request))

    chosen: Any = guard_async if iscoroutinefunction(get_response) else guard_sync
    chosen.process_view = _bound_search_async if chosen is guard_async else bound_search
    chosen.process_exception = refuse_filter
    guarded: _GetResponse = chosen
    return guarded


def _with_policy(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    html = response.get("Content-Type", "").startswith("text/html")
    # Django's pages for developers have their styles in them.
    developer = settings.DEBUG and response.status_code >= 400
    if html and not developer and _HEADER not in response and _is_ours(request):
        response[_HEADER] = POLICY
    return response


def _is_ours(request: HttpRequest) -> bool:
    """Not the pages of the project that this is installed in: they may hold scripts."""
    match = request.resolver_match
    if match is None or {"admin", "api"} & set(match.app_names):
        return True
    view = getattr(match.func, "view_class", match.func)
    return str(view.__module__).startswith("realtime.")


def bound_search(request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
    """400 for what the database would take too long for in a list of the admin, or not take."""
    match = request.resolver_match
    if match is None or "admin" not in match.app_names:
        return None
    problem = next(filter(None, map(_problem, request.GET.items())), None)
    if problem is None:
        return None
    return HttpResponse(problem, status=400, content_type="text/plain")


async def _bound_search_async(
    request: HttpRequest, view: Any, args: Any, kwargs: Any
) -> HttpResponse | None:
    return bound_search(request, view, args, kwargs)


def refuse_filter(request: HttpRequest, exc: Exception) -> HttpResponse | None:
    """400 for a filter of a list that was written by hand: a year 0, a NUL, 30 digits."""
    match = request.resolver_match
    if match is None or "admin" not in match.app_names or not request.GET:
        return None
    listed = str(match.url_name).endswith(("_changelist", "autocomplete"))
    if not listed or not isinstance(exc, ValueError | OverflowError | DataError):
        return None
    return HttpResponse("No list has values like these.", status=400, content_type="text/plain")


def _problem(parameter: tuple[str, Any]) -> str | None:
    name, value = parameter
    if name.endswith("regex"):  # SQLite matches in Python, however long it takes
        return f"{name[:100]}: lists are not filtered by regular expressions."
    if len(value) > MAX_LENGTH and name not in _ADDRESSES:
        return f"{name[:100]}: {len(value)} characters; the limit is {MAX_LENGTH}."
    if len(value.split()) > MAX_WORDS and name in ("q", "term"):
        return f"{name}: search for {MAX_WORDS} words at most."
    return None
