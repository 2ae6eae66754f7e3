"""Where webhooks may go: not inside.

A user names a URL, and this server connects to it from within a network that trusts it. So
names are resolved and every address is checked *before* anything connects, and the connection
goes to an address that was checked, whatever the name means a moment later.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings

from realtime.conf import conf
from realtime.threads import in_own_thread

MAX_URL_LENGTH: Final = 500
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Not is_global of the standard library: what it takes for global depends on the version of
# Python, and it has no opinion about multicast. IANA's registries of special-purpose addresses.
_REFUSED: Final = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        # The metadata service of Azure; those of others are link-local, shared or unique local.
        "168.63.129.16/32",
        # Within 2000::/3: protocol assignments (with Teredo), documentation, 6to4.
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48",
    )
]  # fmt: skip
# All of IPv6 outside is refused: loopback, unspecified, unique local, link-local, multicast, and
# IPv4 as mapped, compatible, translated (NAT64) or anything that will be invented.
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# The interface identifiers of ISATAP, 64 bits that end in an IPv4 address.
_ISATAP: Final = (0x00005EFE, 0x02005EFE)

_WAY_OUT: Final = ", unless the operator lists the host in REALTIME_WEBHOOK_ALLOWED_HOSTS."

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
# A host whose last label looks like this is an IPv4 address, in one of many spellings.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


class InvalidUrl(ValueError):
    """Raised for a URL that no webhook may have; says what is wrong with it."""


class AddressRefused(Exception):
    """Raised when a name leads inside, with one of its addresses at least."""


class NameNotResolved(Exception):
    """Raised when a name has no address."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to connect to. `host` is a lower-case ASCII name, or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def allowed(self) -> bool:
        """Is this one of the hosts inside that the operator allows?"""
        bracketed = _bracketed(self.host)
        names = {self.host, bracketed, f"{bracketed}:{self.port}"}
        return bool(names & {name.lower() for name in conf.REALTIME_WEBHOOK_ALLOWED_HOSTS})

    @property
    def authority(self) -> str:
        """The `Host` header."""
        default = 443 if self.scheme == "https" else 80
        suffix = "" if self.port == default else f":{self.port}"
        return f"{_bracketed(self.host)}{suffix}"

    @property
    def address(self) -> Address | None:
        """The host, where it is an address and not a name."""
        return _address(self.host)


def parse_url(url: object) -> Target:
    """The target of a URL, without asking any name server; raises InvalidUrl."""
    if not isinstance(url, str):
        raise InvalidUrl(f"The URL must be a string, not {type(url).__name__}.")
    if len(url) > MAX_URL_LENGTH:
        raise InvalidUrl(f"The URL has more than {MAX_URL_LENGTH} characters.")
    # urlsplit() drops some of these silently, and clients differ about the others.
    if not url.isascii() or any(character <= " " or character in "\\\x7f" for character in url):
        raise InvalidUrl(
            "The URL may hold printable ASCII only; write other characters percent-encoded, and "
            "names of hosts in their xn-- form."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise InvalidUrl(f"This is not a valid URL: {exc}.") from exc
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise InvalidUrl("Write a whole URL: https://example.com/hook")
    if "@" in parts.netloc:
        raise InvalidUrl("The URL must not hold a user name or a password.")
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    port = port or (443 if parts.scheme == "https" else 80)
    target = Target(parts.scheme, _host(parts.hostname), port, path)
    if not target.allowed:
        _check_outside(target)
    return target


def _check_outside(target: Target) -> None:
    if target.scheme == "http" and not settings.DEBUG:
        raise InvalidUrl(f"The URL must begin with https://{_WAY_OUT}")
    address = target.address
    local = target.host == "localhost" or target.host.endswith(".localhost")
    if local or (address is not None and not is_public(address)):
        raise InvalidUrl(f"The URL must lead to a public address{_WAY_OUT}")


def is_public(address: Address) -> bool:
    """Is this an address of the internet, and neither inside nor a way to somewhere inside?"""
    if any(address in network for network in _REFUSED if network.version == address.version):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    isatap = int(address) >> 32 & 0xFFFFFFFF in _ISATAP
    return address in _GLOBAL_UNICAST and address.scope_id is None and not isatap


async def resolve(target: Target) -> list[str]:
    """The addresses to connect to, all of them checked, the system's first choice first.

    Raises NameNotResolved, and AddressRefused if a single one is not public: a name that leads to
    both sides is a trick, and the answer must not depend on the order.
    """
    try:
        found = await _look_up(target.host, target.port)
    except (OSError, UnicodeError) as exc:
        raise NameNotResolved from exc
    texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not texts:
        raise NameNotResolved
    for text in texts:
        address = _address(text)
        if not target.allowed and (address is None or not is_public(address)):
            raise AddressRefused
    return texts


async def _look_up(host: str, port: int) -> list[tuple[Any, ...]]:
    def look_up() -> list[tuple[Any, ...]]:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    return await in_own_thread(look_up, "webhook-lookup")


def _host(name: str) -> str:
    """The host of a URL in its only spelling; raises InvalidUrl."""
    if ":" in name:
        address = _address(name)
        if address is None or "%" in name:
            raise InvalidUrl("This is not a valid IPv6 address.")
        return str(address)
    name = name.removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # 2130706433, 0x7f.1, 0177.0.0.1: an address can be written in the usual way.
        if _address(name) is None:
            raise InvalidUrl("Write the address as four decimal numbers: 192.0.2.1")
        return name
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidUrl("The URL has no valid host name.")
    return name


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
