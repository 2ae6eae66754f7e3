"""How a connection is opened: the address of the server, and the credential."""

import asyncio
import inspect
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from ara_client.errors import AraError, Unreachable, refusal
from ara_client.session import BROKEN
from ara_client.version import VERSION

GetToken = Callable[[], str | Awaitable[str]]

USER_AGENT: Final = f"ara-realtime-client/{VERSION}"
_OPEN_SECONDS: Final = 9.0
_CLOSE_SECONDS: Final = 1.0
_MAX_BYTES: Final = 64 * 2**20  # the answer to a subscription to thousands of streams
_PASSING: Final = (408, 425, 429)  # statuses of HTTP that may be others a moment later
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


class Lost(Exception):
    """A connection broke or could not be made; another attempt may succeed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connector:
    """The address of a server and the credential of this client."""

    def __init__(
        self,
        url: str,
        *,
        credential: str | None,
        get_token: GetToken | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        parts = urlsplit(url.strip())
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise ValueError(f"{url!r} is not the address of a server, like http://localhost:8000")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("url: leave out the query and credentials; use api_key or get_token")
        scheme, path = _SCHEMES[parts.scheme], parts.path.rstrip("/")
        self.ws = urlunsplit((scheme, parts.netloc, path, "", ""))
        self.http = "http" + self.ws.removeprefix("ws")
        secure = scheme == "wss"
        self.ssl_context = ssl_context or ssl.create_default_context() if secure else None
        self.get_token = get_token
        self._credential = None if credential is None else _checked(credential)

    async def credential(self, *, fresh: bool = True) -> str | None:
        """The credential; `fresh`: ask `get_token` once more. Raises Lost."""
        if self.get_token is None or (self._credential is not None and not fresh):
            return self._credential
        try:
            if inspect.iscoroutinefunction(self.get_token):
                token = await self.get_token()
            else:
                answer = await asyncio.to_thread(self.get_token)
                token = answer if isinstance(answer, str) else await answer
        except AraError:
            raise
        except Exception as exc:
            raise Lost(BROKEN, f"get_token failed: {exc!r}") from exc
        self._credential = _checked(token)
        return self._credential

    def foreign(self, text: str) -> str:
        """What to say about a message that is not of the protocol."""
        return f"{self.ws} sent what is not of the protocol: {text[:200]!r}"

    async def open(self, path: str) -> ClientConnection:
        """A connection to this path; raises Lost and AraError."""
        token = await self.credential()
        try:
            return await connect(
                self.ws + path,
                additional_headers=None if token is None else {"Authorization": f"Bearer {token}"},
                user_agent_header=USER_AGENT, compression=None, max_size=_MAX_BYTES,
                open_timeout=_OPEN_SECONDS, close_timeout=_CLOSE_SECONDS, ping_interval=None,
                ssl=self.ssl_context,
            )  # fmt: skip
        except InvalidStatus as exc:
            status = exc.response.status_code
            reason = f"{self.ws}{path} answers with HTTP status {status}"
            if 400 <= status < 500 and status not in _PASSING:
                raise refusal(4000 + status, reason) from None
            raise Lost(BROKEN, reason) from exc
        except ssl.SSLCertVerificationError as exc:
            raise Unreachable(f"{self.ws}: {exc}; pass an ssl_context that trusts it") from None
        except (OSError, WebSocketException) as exc:
            raise Lost(BROKEN, f"{self.ws} cannot be reached: {exc or 'no answer'}") from exc


async def receive(connection: ClientConnection, seconds: float | None = None) -> str | None:
    """The next message, or None if there is none within that time; raises Lost."""
    try:
        async with asyncio.timeout(seconds):
            text = await connection.recv()
    except TimeoutError:
        return None
    except ConnectionClosed as exc:
        raise _lost(exc) from exc
    return text if isinstance(text, str) else text.decode(errors="replace")


def _lost(exc: ConnectionClosed) -> Lost:
    if exc.rcvd is None:
        return Lost(BROKEN, "the connection broke")
    return Lost(exc.rcvd.code, exc.rcvd.reason or f"the server closed with {exc.rcvd.code}")


def _checked(token: str) -> str:
    """A credential that a header can carry."""
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise ValueError("a credential consists of printable ASCII characters without spaces")
    return token
