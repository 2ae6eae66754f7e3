"""Which web pages may open a WebSocket.

Only browsers send an Origin, and they cannot lie about it. Its absence says nothing: most native
clients have none.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.http import is_same_domain

from realtime.access.identity import Identity

_OPAQUE: Final = "null"  # a local file, about:blank, a sandboxed frame

# urlsplit() takes what is before an `@` for a password, and a browser a backslash for a slash.
_NEVER_IN_AN_ORIGIN: Final = frozenset("@\\ ")


def origin_allowed(headers: Iterable[tuple[bytes, bytes]], identity: Identity) -> bool:
    """May a page of the Origin in these headers connect with this identity?

    The key's own list decides if it has one, else REALTIME_ALLOWED_ORIGINS, else ALLOWED_HOSTS
    (and then pages without an origin too, as no cookie is ever a credential here).
    """
    origin = next((value for name, value in headers if name == b"origin"), None)
    if origin is None:
        return True
    text = origin.decode("latin-1").strip().lower().rstrip("/")
    allowed = identity.allowed_origins or settings.REALTIME_ALLOWED_ORIGINS
    if allowed:
        return any(_matches(text, pattern.lower().rstrip("/")) for pattern in allowed)
    if text == _OPAQUE:
        return True
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return False
    if f"{parts.scheme}://{parts.netloc}" != text or _NEVER_IN_AN_ORIGIN & set(text):
        return False
    return host is not None and any(
        pattern == "*" or is_same_domain(host, pattern.strip("[]").lower())
        for pattern in settings.ALLOWED_HOSTS
    )


def _matches(origin: str, pattern: str) -> bool:
    """`*`, `https://app.example.com`, or `https://*.example.com`."""
    if pattern in ("*", origin):
        return True
    scheme, star, domain = pattern.partition("://*.")
    return bool(star) and origin.startswith(f"{scheme}://") and origin.endswith(f".{domain}")
