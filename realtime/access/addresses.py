"""The address of a client, behind proxies or not, in the form in which it is counted."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from realtime.conf import conf

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # IPv4 clients of a server that has IPv6 only
_WITH_PORT: Final = re.compile(r"(?:\[(?P<bracketed>[^\]]*)\]|(?P<plain>[^:\[\]]+))(?::[\w.-]*)?")


def client_address(
    client: Sequence[Any] | None, headers: Iterable[tuple[bytes, bytes]]
) -> str | None:
    """The client's IP address as limits count it; None on a unix socket without a trusted header.

    `X-Forwarded-For` is trusted only from proxies in REALTIME_TRUSTED_PROXIES: the client is the
    rightmost address in it that is not such a proxy.
    """
    proxies = tuple(conf.REALTIME_TRUSTED_PROXIES)
    text = str(client[0]) if client else ""
    peer = _parse(text)
    if not (_trusted(peer, proxies) if text else "unix" in proxies):
        return _counted(peer)
    for address in _forwarded(headers):
        if address is None:
            break  # not written by a proxy that can be trusted
        if not _trusted(address, proxies):
            return _counted(address)
    return _counted(peer)


def _forwarded(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[_Address | None]:
    """The addresses that proxies added, nearest first; None for an entry that is not an address."""
    joined = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    for text in reversed(joined.decode("latin-1").split(",")):
        if text.strip():
            yield _parse(text)


def _parse(text: str) -> _Address | None:
    """`203.0.113.5`, also with a port, `2001:db8::1`, `[2001:db8::1]:443`; IPv4 in IPv6 as IPv4."""
    found = _WITH_PORT.fullmatch(text.strip().strip('"'))
    plain = (found["bracketed"] or found["plain"]) if found else text.strip()
    try:
        address = ipaddress.ip_address(plain.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address


def _counted(address: _Address | None) -> str | None:
    """IPv6 is counted by /64: a subscriber owns a whole one, and could evade limits per address."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return None if address is None else str(address)


@lru_cache(maxsize=4096)
def _trusted(address: _Address | None, proxies: tuple[str, ...]) -> bool:
    return address is not None and any(
        address in ipaddress.ip_network(proxy, strict=False) for proxy in proxies if proxy != "unix"
    )
