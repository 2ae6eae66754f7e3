"""The address of a client, behind proxies or not, in the form in which it is counted."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

from realtime.conf import conf

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # IPv4 clients of a server that has IPv6 only
# What proxies add to a request, trusted or not.
_PASSED_ON: Final = frozenset(
    {
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"forwarded",
        b"via",
    }
)
_WITH_PORT: Final = re.compile(r"(?:\[(?P<bracketed>[^\]]*)\]|(?P<plain>[^:\[\]]+))(?::[\w.-]*)?")


def client_address(
    client: Sequence[object] | None, headers: Iterable[tuple[bytes, bytes]]
) -> str | None:
    """The client's IP address as limits count it; None on a unix socket without a trusted header.

    `X-Forwarded-For` is trusted only from proxies in REALTIME_TRUSTED_PROXIES: the client is the
    rightmost address in it that is not such a proxy.
    """
    return _counted(_told_by_proxies(client, headers) or _peer(client))


def address_in_meta(meta: Mapping[str, object]) -> str | None:
    """`client_address` of a Django request, by its META."""
    forwarded = str(meta.get("HTTP_X_FORWARDED_FOR", "")).encode("latin-1", "replace")
    return client_address(
        (meta.get("REMOTE_ADDR") or "", 0), [(b"x-forwarded-for", forwarded)] if forwarded else []
    )


def is_within(
    networks: Iterable[str], client: Sequence[object] | None, headers: Sequence[tuple[bytes, bytes]]
) -> bool:
    """Is the client in one of these networks, for certain?

    Not where a proxy that is not trusted, or that does not say who the client is, passes it on:
    then the peer is the proxy, which may be on this machine while the client is anywhere.
    """
    address = _told_by_proxies(client, headers)
    if address is None and _PASSED_ON.isdisjoint(name for name, _ in headers):
        address = _peer(client)
    return _trusted(address, tuple(networks))


def _peer(client: Sequence[object] | None) -> _Address | None:
    return _parse(str(client[0])) if client else None


def _told_by_proxies(
    client: Sequence[object] | None, headers: Iterable[tuple[bytes, bytes]]
) -> _Address | None:
    """The client of the farthest proxy that is trusted; None without one."""
    proxies = tuple(conf.REALTIME_TRUSTED_PROXIES)
    text = str(client[0]) if client else ""
    if not (_trusted(_parse(text), proxies) if text else "unix" in proxies):
        return None
    for address in _forwarded(headers):
        if address is None:
            return None  # not written by a proxy that can be trusted
        if not _trusted(address, proxies):
            return address
    return None


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
