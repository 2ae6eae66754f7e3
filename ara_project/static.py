"""Static files under ASGI: whitenoise answers with them as WSGI servers want it."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpRequest, HttpResponseBase


def read_files(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Reads a file here, in the thread of its request: later Django would, with a warning."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = get_response(request)
        if isinstance(request, ASGIRequest) and isinstance(response, FileResponse):
            content: Any = response.streaming_content
            response.streaming_content = _parts(list(content))
        return response

    return answer


async def _parts(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
