"""Speaks with a site as its clients do: HTTPS, WebSocket, server-sent events."""

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from realtime.extras import extra

SECONDS: Final = 5.0
# The address of nobody: documentation (RFC 5737).
PRETENDED: Final = "198.51.100.77"
_WEBSOCKET: Final = "/ws/market-data/DOCTOR"
_EVENTS: Final = "/sse/market-data/DOCTOR"


class NotUpgraded(Exception):
    """Raised when a WebSocket handshake is answered with anything but 101."""


@dataclass(frozen=True)
class Site:
    """A site by its URL. The environment's ARA_API_KEY is its credential, if there is one."""

    url: str

    @property
    def headers(self) -> dict[str, str]:
        key = os.environ.get("ARA_API_KEY", "").strip()
        return {"X-Forwarded-For": PRETENDED} | ({"X-API-Key": key} if key else {})

    @property
    def secure(self) -> bool:
        return self.url.startswith("https:")

    def get(self, path: str) -> httpx.Response:
        with self._client() as client:
            return client.get(self.url + path)

    def certificate_end(self) -> str:
        """Until when its certificate is valid, as OpenSSL writes it."""
        with self._client() as client, client.stream("GET", f"{self.url}/healthz") as answer:
            stream = answer.extensions["network_stream"]
            certificate: dict[str, str] = stream.get_extra_info("ssl_object").getpeercert()
            return certificate["notAfter"]

    def first_event(self) -> tuple[int, bytes]:
        """The status of an endless answer, and its first bytes. Raises httpx.ReadTimeout."""
        with self._client() as client, client.stream("GET", self.url + _EVENTS) as answer:
            return answer.status_code, next(answer.iter_raw(), b"")

    @contextmanager
    def websocket(self) -> Iterator[dict[str, object]]:
        """The first message of a WebSocket, which stays open inside the block.

        Raises NotUpgraded, TimeoutError and OSError.
        """
        with extra("serve", needed_by="doctor --url"):
            from websockets.exceptions import InvalidHandshake, WebSocketException
            from websockets.sync.client import connect
        try:
            with connect(
                f"ws{self.url.removeprefix('http')}{_WEBSOCKET}",
                additional_headers=self.headers,
                ssl=_trusted() if self.secure else None,
                open_timeout=SECONDS,
                proxy=None,
            ) as socket:
                message: dict[str, object] = json.loads(socket.recv(SECONDS))
                yield message
        except InvalidHandshake as exc:
            raise NotUpgraded(str(exc)) from exc
        except WebSocketException as exc:
            raise OSError(str(exc)) from exc

    def _client(self) -> httpx.Client:
        return httpx.Client(headers=self.headers, timeout=SECONDS, verify=_trusted())


def _trusted() -> ssl.SSLContext:
    """The certificates of the system; SSL_CERT_FILE names others."""
    return ssl.create_default_context()
