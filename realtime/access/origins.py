"""Which web pages may open a WebSocket.

Only browsers send an Origin, and they cannot lie about it. A missing Origin proves nothing: most
native clients send none.
"""

from collections.abc import Iterable
from typing import Final

from django.conf import settings
from django.utils.http import is_same_domain

from realtime.access.identity import Identity
from realtime.models import ORIGIN

OPAQUE: Final = "null"  # a local file, about:blank, a sandboxed frame of any page


def origin_allowed(headers: Iterable[tuple[bytes, bytes]], identity: Identity) -> bool:
    """May a page of the Origin in these headers connect with this identity?

    The key's own list decides if it has one, else REALTIME_ALLOWED_ORIGINS, else ALLOWED_HOSTS.
    Any site can send `null` from a sandboxed frame, so `null` must be listed explicitly.
    """
    origins = [value for name, value in headers if name == b"origin"]
    if not origins:
        return True
    text = origins[0].decode("latin-1").strip().lower().rstrip("/")
    parts = ORIGIN.fullmatch(text)
    if len(origins) > 1 or (parts is None and text != OPAQUE):
        return False  # no browser sends it
    allowed = identity.allowed_origins or settings.REALTIME_ALLOWED_ORIGINS
    if allowed:
        return any(_matches(text, pattern.lower().rstrip("/")) for pattern in allowed)
    return parts is not None and any(
        pattern == "*" or is_same_domain(parts["host"].strip("[]"), pattern.strip("[]").lower())
        for pattern in settings.ALLOWED_HOSTS
    )


def _matches(origin: str, pattern: str) -> bool:
    """`*`, `https://app.example.com`, or `https://*.example.com`."""
    if pattern in ("*", origin):
        return True
    scheme, star, domain = pattern.partition("://*.")
    return bool(star) and origin.startswith(f"{scheme}://") and origin.endswith(f".{domain}")
