"""Requests over HTTP, with the standard library, tried again while that is safe and may help."""

import asyncio
import json
import ssl
import time
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode

from ara_client.backoff import Backoff
from ara_client.connector import USER_AGENT, Connector, Lost
from ara_client.errors import AraError, NotAnAraServer, Unreachable, refusal

# 409: the first request with this idempotency key is still under way.
_AGAIN: Final = (408, 409, 425, 429, 502, 503, 504)
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    retry_after: float | None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the credential to wherever it leads."""

    def redirect_request(self, *_: object) -> None:
        return None


class Rest:
    """The REST API of one server; `timeout` is that of a request with all its attempts."""

    def __init__(self, connector: Connector, timeout: float) -> None:
        self._connector = connector
        self._timeout = timeout
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if connector.ssl_context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=connector.ssl_context))
        self._opener = urllib.request.build_opener(*handlers)

    async def get(self, path: str, **query: object) -> Any:
        """The JSON of an answer; parameters that are None are left out. Raises AraError."""
        given = {name: value for name, value in query.items() if value is not None}
        return await self._call("GET", f"{path}?{urlencode(given)}" if given else path, None, {})

    async def post(self, path: str, body: object, key: str | None = None) -> Any:
        """The same, for something that must not happen twice: `key` names it."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or uuid.uuid4().hex}
        return await self._call("POST", path, json.dumps(body).encode(), headers)

    async def _call(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Any:
        url = f"{self._connector.http}/api/v1/{path}"
        deadline, backoff = time.monotonic() + self._timeout, Backoff()
        fresh = refreshed = False
        while True:
            left = deadline - time.monotonic()
            try:
                token = await self._connector.credential(fresh=fresh)
                request = _request(method, url, body, headers, token)
                answer = await asyncio.to_thread(self._send, request, max(left, 0.1))
            except Lost as exc:
                problem: AraError = Unreachable(f"{url} cannot be reached: {exc.reason}")
                wait = backoff.next()
            else:
                if answer.status < 300:
                    return _decoded(answer.body, url)
                problem = _problem(answer, url)
                wait = answer.retry_after or backoff.next()
                fresh = answer.status == _UNAUTHORIZED and self._connector.get_token is not None
                if not (fresh and not refreshed) and answer.status not in _AGAIN:
                    raise problem
                refreshed = fresh
            if time.monotonic() + wait > deadline:
                raise problem
            await asyncio.sleep(wait)

    def _send(self, request: urllib.request.Request, timeout: float) -> _Answer:
        """In a thread: one attempt; raises Lost."""
        try:
            with self._opener.open(request, timeout=timeout) as response:
                return _Answer(response.status, response.read(), None)
        except HTTPError as exc:
            with exc:
                return _Answer(exc.code, exc.read(), _seconds(exc.headers.get("Retry-After")))
        except URLError as exc:
            if isinstance(exc.reason, ssl.SSLCertVerificationError):
                hint = "pass an ssl_context that trusts it"
                raise Unreachable(f"{request.full_url}: {exc.reason}; {hint}") from None
            raise Lost(0, str(exc.reason)) from exc
        except (OSError, HTTPException) as exc:
            raise Lost(0, str(exc) or type(exc).__name__) from exc


def path_of(symbol: str) -> str:
    """A symbol as a part of a path; one may hold a slash."""
    return quote(symbol.strip().upper(), safe="")


def _request(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], token: str | None
) -> urllib.request.Request:
    own = {"User-Agent": USER_AGENT, "Accept": "application/json"}
    if token is not None:
        own["Authorization"] = f"Bearer {token}"
    return urllib.request.Request(url, body, {**own, **headers}, method=method)


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None


def _decoded(body: bytes, url: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        raise NotAnAraServer(f"{url} answers with what is not JSON: {body[:100]!r}") from None


def _problem(answer: _Answer, url: str) -> AraError:
    """The error that an answer describes: `{"detail": …}`, or `{field: [what is wrong]}`."""
    try:
        content = json.loads(answer.body)
    except ValueError:
        content = None
    details: dict[str, Any] = content if isinstance(content, dict) else {}
    text = "; ".join(_line(field, what) for field, what in details.items())
    reason = text or f"{url} answers with HTTP status {answer.status}"
    if 400 <= answer.status < 500:
        return refusal(4000 + answer.status, reason, details)
    return Unreachable(f"{reason} ({answer.status})")


def _line(field: str, what: object) -> str:
    text = " ".join(map(str, what)) if isinstance(what, list) else str(what)
    return text if field == "detail" else f"{field}: {text}"
