"""Smaller answers: pages, scripts and JSON are sent with gzip."""

import gzip
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers

# Below it the headers weigh as much as what is saved.
MIN_BYTES: Final = 1024
_MAX_FILES: Final = 256  # that are kept in memory, compressed
_TEXT: Final = re.compile(r"text/|application/(?:.*json|.*javascript|.*openapi|.*yaml|.*xml)|.*svg")


class CompressAnswers(GZipMiddleware):
    """Django's, with its padding against BREACH, for what has no secrets beside what was sent.

    Secrets are shown by answers to POST, and by pages that no cache may keep for anybody.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if request.method != "GET" or not _is_worthwhile(response):
            return response
        prefix = f"/{settings.STATIC_URL.strip('/')}/"
        if isinstance(response, FileResponse) and request.path_info.startswith(prefix):
            name = request.path_info.removeprefix(prefix)
            return _compressed_file(name, request, response)
        return super().process_response(request, response)


def _is_worthwhile(response: HttpResponseBase) -> bool:
    small = isinstance(response, HttpResponse) and len(response.content) < MIN_BYTES
    secret = response.get("Cache-Control", "") == "no-store"
    text = _TEXT.match(response.get("Content-Type", "")) is not None
    return response.status_code == 200 and text and not (small or secret)


def _compressed_file(name: str, request: HttpRequest, response: FileResponse) -> HttpResponseBase:
    """A static file, compressed once."""
    patch_vary_headers(response, ("Accept-Encoding",))
    path = finders.find(name)
    accepted = "gzip" in request.headers.get("Accept-Encoding", "")
    if not accepted or path is None or Path(path).stat().st_size < MIN_BYTES:
        return response
    response.close()
    content = _compressed(path, Path(path).stat().st_mtime_ns)
    headers = {**response.headers, "Content-Encoding": "gzip", "Content-Length": str(len(content))}
    headers.pop("ETag", None)  # of the other form; Last-Modified is that of both
    return HttpResponse(content, headers=headers)


@lru_cache(maxsize=_MAX_FILES)
def _compressed(path: str, changed_at: int) -> bytes:
    return gzip.compress(Path(path).read_bytes(), mtime=0)
