"""Where webhooks may go: not inside.

A user names a URL, and this server connects to it from within a network that trusts it. So
names are resolved and every address is checked *before* anything connects, and the connection
goes to an address that was checked, whatever the name means a moment later.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

MAX_URL_LENGTH = 500
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class InvalidUrl(ValueError):
    """Raised for a URL that no webhook may have; says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to connect to. `host` is a lower-case ASCII name, or an address without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def allowed(self) -> bool:
        """Is this one of the hosts inside that the operator allows?"""
        names = {self.host, f"{self.host}:{self.port}", f"[{self.host}]:{self.port}"}
        return bool(names & {name.lower() for name in settings.REALTIME_WEBHOOK_ALLOWED_HOSTS})


def parse_url(url: object) -> Target:
    """The target of a URL, without asking any name server; raises InvalidUrl."""
    if not isinstance(url, str):
        raise InvalidUrl(f"The URL must be a string, not {type(url).__name__}.")
    if len(url) > MAX_URL_LENGTH:
        raise InvalidUrl(f"The URL has more than {MAX_URL_LENGTH} characters.")
    if not url.isascii() or any(character <= " " or character in "\\\x7f" for character in url):
        raise InvalidUrl(
            "The URL may hold printable ASCII only; write other characters percent-encoded, and "
            "names of hosts in their xn-- form."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise InvalidUrl(f"This is no URL: {exc}.") from exc
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise InvalidUrl("Write a whole URL: https://example.com/hook")
    if "@" in parts.netloc:
        raise InvalidUrl("The URL must not hold a user name or a password.")
    host = parts.hostname.removesuffix(".")
    target = Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))
    if target.scheme == "http" and not (settings.DEBUG or target.allowed):
        raise InvalidUrl("The URL must begin with https://")
    return target
