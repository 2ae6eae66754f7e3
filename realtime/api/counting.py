"""Counts the requests of the REST API by their routes, for `GET /metrics`."""

import time
from typing import Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import SimpleTemplateResponse

from realtime.delivery.totals import totals

# A client may send any word as the method.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def count_request(route: str, method: str | None, status: int, began: float) -> None:
    """One answered request; `route` is the template of its path, never the path itself."""
    known = method if method in _METHODS else "other"
    totals.count("requests", route, known, str(status))
    totals.observe("request_seconds", time.perf_counter() - began, route, known)


def count_answer(request: HttpRequest, answer: HttpResponseBase, began: float) -> None:
    """`count_request` as soon as the answer of a view is rendered."""

    def count(answer: HttpResponseBase) -> None:
        count_request(route_of(request), request.method, answer.status_code, began)

    if isinstance(answer, SimpleTemplateResponse):
        answer.add_post_render_callback(count)
    else:
        count(answer)


def route_of(request: HttpRequest) -> str:
    match = request.resolver_match
    return match.route if match is not None else "unknown"
