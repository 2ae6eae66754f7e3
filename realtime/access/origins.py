"""Which web pages may open a WebSocket, and read answers of the REST API from another origin.

Only browsers send an Origin, and they cannot lie about it. A missing Origin proves nothing: most
native clients send none.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from django.conf import settings
from django.utils.encoding import punycode
from django.utils.http import is_same_domain

from realtime.access.identity import Identity
from realtime.conf import conf
from realtime.models import ORIGIN

OPAQUE: Final = "null"  # a local file, about:blank, a sandboxed frame of any page
_FILE: Final = "file:"  # what some browsers inside of apps send for a local file
_PORTS: Final = {"http": "80", "https": "443"}  # which browsers leave out
# Django's own, where DEBUG is on and ALLOWED_HOSTS is empty.
_DEVELOPER: Final = (".localhost", "127.0.0.1", "[::1]")


def origin_allowed(headers: Iterable[tuple[bytes, bytes]], identity: Identity) -> bool:
    """May a page of the Origin in these headers connect with this identity?"""
    origins = [value for name, value in headers if name == b"origin"]
    if not origins:
        return True
    return page_allowed(b",".join(origins).decode("latin-1"), identity.allowed_origins)


def page_allowed(origin: str, own: Sequence[str] = ()) -> bool:
    """May pages of this origin use the server?

    The key's own list decides if it has one, else REALTIME_ALLOWED_ORIGINS, else ALLOWED_HOSTS.
    Any site can send `null` from a sandboxed frame, so `null` must be listed explicitly.
    """
    text = normal_origin(origin) if origin.isascii() and "," not in origin else None
    if text is None:
        return False  # no browser sends it
    allowed = own or conf.REALTIME_ALLOWED_ORIGINS
    if allowed:
        return any(_matches(text, pattern) for pattern in allowed)
    return _is_served(text)


def normal_origin(text: str) -> str | None:
    """An origin, or a pattern, as browsers spell it: lower case, Punycode, no usual port."""
    text = text.strip().lower().rstrip("/")
    if text in (OPAQUE, _FILE):
        return OPAQUE
    parts = ORIGIN.fullmatch(text)
    if parts is None:
        return None
    scheme, host, port = parts.group("scheme", "host", "port")
    try:
        host = host if host.isascii() else _ascii(host)
    except UnicodeError:
        return None
    return f"{scheme}://{host}" + ("" if port in (None, _PORTS.get(scheme)) else f":{port}")


def _ascii(host: str) -> str:
    """In Punycode; raises UnicodeError, also where browsers may take the name for another one.

    Python writes `straße` as `strasse`, which is somebody else's name today.
    """
    name = punycode(host)
    if name.encode().decode("idna") != host:
        raise UnicodeError(host)
    return name


def _matches(origin: str, pattern: str) -> bool:
    """`*`, `https://app.example.com`, or `https://*.example.com`."""
    if pattern == "*":
        return True
    wanted = normal_origin(pattern) or ""
    scheme, star, domain = wanted.partition("://*.")
    under = bool(star) and origin.startswith(f"{scheme}://") and origin.endswith(f".{domain}")
    return under or origin == wanted


def _is_served(origin: str) -> bool:
    """Is it an origin of a host that this server answers for, whatever the port?"""
    parts = ORIGIN.fullmatch(origin)
    if parts is None:
        return False
    hosts = settings.ALLOWED_HOSTS or (_DEVELOPER if settings.DEBUG else ())
    # The dot at the end of an absolute name says nothing else: Django ignores it, too.
    host = parts["host"].strip("[]").removesuffix(".")
    return any(
        pattern == "*" or is_same_domain(host, pattern.strip("[]").lower()) for pattern in hosts
    )
