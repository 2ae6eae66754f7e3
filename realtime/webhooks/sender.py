"""One request to a receiver: bounded, and to an address that was checked.

To a webhook it is signed. A message to a destination goes out by `mail` or `chat`.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import certifi
import httpx
from django.utils import timezone

from realtime.extras import MissingExtra
from realtime.models import WebhookAttempt, WebhookEndpoint
from realtime.threads import in_own_thread
from realtime.version import VERSION
from realtime.webhook_addresses import (
    AddressRefused,
    InvalidUrl,
    NameNotResolved,
    Target,
    parse_url,
    resolve,
)
from realtime.webhook_secrets import sign
from realtime.webhooks.chats import load_chat
from realtime.webhooks.mail import send_mail
from realtime.webhooks.messages import Message
from realtime.webhooks.results import AttemptResult, HttpRequest
from realtime.webhooks.schedule import parse_retry_after

logger = logging.getLogger(__name__)

Problem = WebhookAttempt.Problem

# Bytes of an answer that are read and kept in the log.
MAX_ANSWER: Final = 1024
# Bytes of an answer that the protocol of a chat may need.
MAX_CHAT_ANSWER: Final = 256 * 1024
# A mail server has fewer places for one client than a worker has.
_MAILS_AT_ONCE: Final = 10
# For which a thread waits beyond its deadline, should the loop have ended meanwhile.
_SPARE_SECONDS: Final = 1.0
# Seconds for one address, when a name has several.
_CONNECT_SECONDS: Final = 5.0
_MOST_ADDRESSES: Final = 4


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One request to send. `secrets`: all keys that sign it, newest first."""

    url: str
    webhook_id: str
    body: bytes
    secrets: Sequence[str] = field(repr=False)

    def headers(self, now: datetime) -> dict[str, str]:
        seconds = int(now.timestamp())
        signatures = (sign(key, self.webhook_id, seconds, self.body) for key in self.secrets)
        return {
            "content-type": "application/json",
            "user-agent": f"ARA-Realtime/{VERSION}",
            # No compression, since a few bytes of an answer could decompress to gigabytes.
            "accept-encoding": "identity",
            "connection": "close",
            "webhook-id": self.webhook_id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": " ".join(signatures),
        }


Request = WebhookRequest | Message


class Sender:
    """Sends requests concurrently. `timeout`: seconds for a request, DNS look-up included.

    It uses a transport of httpx instead of a client: no redirects, no cookies, no proxy, .netrc or
    certificates from the environment, and a new connection for each request.
    """

    def __init__(self, timeout: float, context: ssl.SSLContext | None = None) -> None:
        self.timeout = timeout
        self._mails = asyncio.Semaphore(_MAILS_AT_ONCE)
        self._transport = httpx.AsyncHTTPTransport(
            verify=context or trusted_authorities(),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def send(self, request: Request, now: datetime) -> AttemptResult:
        """The result of one attempt; never raises, whatever the receiver does."""
        deadline = asyncio.get_running_loop().time() + self.timeout
        if isinstance(request, Message):
            return await self._tell(request, deadline)
        if not request.secrets:
            return AttemptResult(problem=Problem.SECRET)
        return await self.exchange(
            HttpRequest("POST", request.url, request.headers(now), request.body), deadline
        )

    async def _tell(self, message: Message, deadline: float) -> AttemptResult:
        if not message.address:
            return AttemptResult(problem=Problem.SECRET)
        loop = asyncio.get_running_loop()

        def exchange(request: HttpRequest) -> AttemptResult:
            """For the thread of a chat."""
            asked = self.exchange(request, deadline, most=MAX_CHAT_ANSWER)
            left = max(0.0, deadline - loop.time()) + _SPARE_SECONDS
            return asyncio.run_coroutine_threadsafe(asked, loop).result(left)

        def tell() -> AttemptResult:
            if message.kind == WebhookEndpoint.Kind.EMAIL:
                return send_mail(message, self.timeout)
            return load_chat().send_chat(message, exchange)

        try:
            async with asyncio.timeout_at(deadline), self._turn(message):
                return await in_own_thread(tell, "destination")
        except TimeoutError:
            return AttemptResult(problem=Problem.TIMEOUT)
        except MissingExtra as exc:
            logger.error("%s", exc)
            return AttemptResult(problem=Problem.SETUP)

    def _turn(self, message: Message) -> AbstractAsyncContextManager[object]:
        by_mail = message.kind == WebhookEndpoint.Kind.EMAIL
        return self._mails if by_mail else nullcontext()

    async def exchange(
        self, request: HttpRequest, deadline: float, most: int = MAX_ANSWER
    ) -> AttemptResult:
        """The answer to one request, with `most` bytes of it."""
        try:
            async with asyncio.timeout_at(deadline):
                target = parse_url(request.url)
                addresses = await resolve(target)
                response = await self._request(target, addresses, request)
        except (InvalidUrl, AddressRefused):
            return AttemptResult(problem=Problem.ADDRESS)
        except NameNotResolved:
            return AttemptResult(problem=Problem.NAME)
        except (TimeoutError, httpx.TimeoutException):
            return AttemptResult(problem=Problem.TIMEOUT)
        except httpx.ConnectError:
            return AttemptResult(problem=Problem.CONNECT)
        except (httpx.HTTPError, httpx.InvalidURL):
            return AttemptResult(problem=Problem.ANSWER)
        async with _closing(response):
            return AttemptResult(
                code=response.status_code,
                body=await _beginning(response, deadline, most),
                retry_after=parse_retry_after(response.headers.get("retry-after"), timezone.now()),
            )

    async def _request(
        self, target: Target, addresses: Sequence[str], request: HttpRequest
    ) -> httpx.Response:
        headers = {"host": target.authority, **request.headers}
        extensions: dict[str, object] = {"timeout": {"connect": _CONNECT_SECONDS}}
        if target.address is None:
            # The connection goes to the checked address, but the certificate must match the host
            # name.
            extensions["sni_hostname"] = target.host
        *others, last = addresses[:_MOST_ADDRESSES]
        for address in others:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._request_to(address, target, request, headers, extensions)
        return await self._request_to(last, target, request, headers, extensions)

    async def _request_to(
        self,
        address: str,
        target: Target,
        request: HttpRequest,
        headers: dict[str, str],
        extensions: dict[str, object],
    ) -> httpx.Response:
        url = httpx.URL(
            scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode()
        )
        sent = httpx.Request(
            request.method, url, headers=headers, content=request.body, extensions=extensions
        )
        return await self._transport.handle_async_request(sent)


def trusted_authorities() -> ssl.SSLContext:
    """The authorities of the system and of Mozilla, since a container may have none of its own."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@asynccontextmanager
async def _closing(response: httpx.Response) -> AsyncIterator[None]:
    try:
        yield
    finally:
        with suppress(Exception):  # the answer is complete, however the connection ends
            await response.aclose()


async def _beginning(response: httpx.Response, deadline: float, most: int) -> str:
    """The first bytes of an answer, or less if the rest does not arrive.

    The status alone decides whether the attempt succeeded; the body does not matter.
    """
    read = bytearray()
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    with suppress(Exception):
        async with asyncio.timeout_at(deadline):
            async for chunk in stream:
                read += chunk
                if len(read) >= most:
                    break
    # PostgreSQL accepts no NUL in text.
    return bytes(read[:most]).decode(errors="replace").replace("\x00", "\ufffd")
