"""Each spelling of an address inside, at the three gates: the URL, the look-up, the connection."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from django.conf import settings as django_settings
from hypothesis import given
from hypothesis import strategies as st

from realtime import webhook_addresses as addresses
from realtime.webhook_addresses import (
    AddressRefused,
    InvalidUrl,
    NameNotResolved,
    is_public,
    parse_url,
    resolve,
)

INSIDE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "100.64.0.1", "169.254.169.254", "169.254.0.1", "100.100.100.200",
    "192.0.0.192", "168.63.129.16", "198.18.0.1", "192.0.2.1", "192.88.99.1", "224.0.0.1",
    "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "100::1", "5f00::1", "3fff::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe",  # mapped
    "::127.0.0.1", "::7f00:1", "::8.8.8.8",  # compatible
    "::ffff:0:127.0.0.1",  # translated
    "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1",  # 6to4
    "2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo
    "64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::10.0.0.1",  # NAT64
    "2a00:1450::5efe:127.0.0.1", "2a00:1450::200:5efe:10.0.0.1",  # ISATAP
]  # fmt: skip
OUTSIDE = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2a00:1450:4001::200e",
           "2606:4700:4700::1111"]  # fmt: skip


@pytest.mark.parametrize("text", INSIDE)
def test_an_address_inside_is_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", OUTSIDE)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_is_public_that_python_knows_to_be_special(address: Any) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_no_ipv6_address_that_holds_an_ipv4_address_is_public(address: Any) -> None:
    number = int(address)
    for high in (0, 0xFFFF << 32, 0xFFFF << 48, 0x64FF9B << 96, 0xFE805EFE << 32):
        assert not is_public(ipaddress.IPv6Address(high | number))
    assert not is_public(ipaddress.IPv6Address(0x2002 << 112 | number << 80))


# URLs -----------------------------------------------------------------------------------------

REFUSED_URLS = [
    *(f"https://{f'[{text}]' if ':' in text else text}/" for text in INSIDE),
    "https://localhost/", "https://LOCALHOST:8443/", "https://localhost./", "https://a.localhost/",
    "https://127.0.0.1./", "https://[::1%25lo]/", "https://[fe80::1%eth0]/",
    # One address in many spellings: decimal, octal, hexadecimal, shortened, mixed.
    "https://2130706433/", "https://017700000001/", "https://0x7f000001/", "https://0x7F.0.0.1/",
    "https://0177.0.0.1/", "https://0x7f.1/", "https://127.1/", "https://127.0.1/", "https://0/",
    "https://0x/", "https://00000177.0.0.1/", "https://127.0.0.01/", "https://1.2.3.4.5/",
    "https://169.254.43518/", "https://2852039166/", "https://8.8.8.8.0x0/", "https://256.1.1.1/",
    "https://%31%32%37.0.0.1/", "https://127。0。0。1/", "https://①②⑦.0.0.1/", "https://ⓛocalhost/",
    # What parsers differ about.
    "https://user@10.0.0.1/", "https://example.com@127.0.0.1/", "https://a:b@example.com/",
    "https://@example.com/", "https://example.com\\@127.0.0.1/", "https://example.com#@127.0.0.1\\",
    "https://exa\tmple.com/", "https://example.com/\r\nHost: x", " https://example.com/",
    "https://example.com:0/", "https://example.com:99999/", "https://example.com:x/",
    "https://ex ample.com/", "https://-a.example/", "https://a..example/", "https://[1.2.3.4]/",
    "https:///path", "https://", "https:example.com", "//example.com/", "example.com", "",
    "http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
    "https://" + "a" * 64 + ".example/", "https://example.com/" + "x" * 500, None, 7,
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED_URLS, ids=repr)
def test_a_url_that_leads_inside_or_is_none_is_refused(url: object) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "path"),
    [
        ("https://example.com", "example.com", 443, "example.com", "/"),
        ("https://Example.COM:8443/a?b=c#d", "example.com", 8443, "example.com:8443", "/a?b=c"),
        ("https://example.com./x", "example.com", 443, "example.com", "/x"),
        ("HTTPS://xn--bcher-kva.example:443", "xn--bcher-kva.example", 443,
         "xn--bcher-kva.example", "/"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "8.8.8.8", "/"),
        ("https://[2606:4700:4700:0::1111]:8443/", "2606:4700:4700::1111", 8443,
         "[2606:4700:4700::1111]:8443", "/"),
        ("https://a_b.example/%C3%A9", "a_b.example", 443, "a_b.example", "/%C3%A9"),
    ],
)  # fmt: skip
def test_a_url_has_one_target(url: str, host: str, port: int, authority: str, path: str) -> None:
    target = parse_url(url)
    assert (target.host, target.port, target.authority, target.path) == (
        host, port, authority, path
    )  # fmt: skip


def test_http_is_for_development_and_the_network_inside_stays_shut(
    settings: type[django_settings],
) -> None:
    settings.DEBUG = True
    assert parse_url("http://example.com/").port == 80
    with pytest.raises(InvalidUrl):
        parse_url("http://127.0.0.1/")


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("collector.internal", "http://collector.internal:9000/"),
        ("Collector.Internal", "https://collector.internal/"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
        ("[::1]:9000", "http://[::1]:9000/"),
        ("[::1]", "http://[::1]:9000/"),
        ("example.test:443", "https://example.test/"),
        ("::1", "http://[0:0:0:0:0:0:0:1]/"),
        ("localhost", "http://localhost./"),
    ],
)
def test_a_host_that_the_operator_names_is_allowed(
    settings: type[django_settings], allowed: str, url: str
) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = [allowed]
    assert parse_url(url).allowed


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9001/", "http://127.0.0.2:9000/", "http://localhost:9000/"]
)
def test_its_neighbours_are_not(settings: type[django_settings], url: str) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1:9000"]
    with pytest.raises(InvalidUrl):
        parse_url(url)


# Names ----------------------------------------------------------------------------------------


def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> None:
    """Let the name server of this test answer, each time with the next of these."""
    left = list(answers)

    def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        found = left.pop(0)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in found]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("inside", [*INSIDE, "fe80::1%eth0", "2a00:1450::1%eth0", "nonsense"])
async def test_a_name_with_an_address_inside_is_refused(
    monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    for found in ([inside], ["8.8.8.8", inside], [inside, "8.8.8.8"]):
        answer_with(monkeypatch, found)
        with pytest.raises(AddressRefused):
            await resolve(parse_url("https://example.com/"))


async def test_the_addresses_of_a_public_name_come_in_the_order_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_with(monkeypatch, ["2606:4700:4700::1111", "1.1.1.1", "1.1.1.1"])
    found = await resolve(parse_url("https://example.com/"))
    assert found == ["2606:4700:4700::1111", "1.1.1.1"]


async def test_a_name_that_has_no_address_is_not_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_with(monkeypatch, [])
    with pytest.raises(NameNotResolved):
        await resolve(parse_url("https://example.com/"))


async def test_an_allowed_name_may_lead_inside(
    monkeypatch: pytest.MonkeyPatch, settings: type[django_settings]
) -> None:
    settings.REALTIME_WEBHOOK_ALLOWED_HOSTS = ["collector.internal"]
    answer_with(monkeypatch, ["10.0.0.5"])
    assert await resolve(parse_url("http://collector.internal/")) == ["10.0.0.5"]


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"])
async def test_what_the_system_s_resolver_makes_of_a_spelling_is_checked_too(host: str) -> None:
    target = addresses.Target("https", host, 443, "/")
    with pytest.raises((AddressRefused, NameNotResolved)):
        await resolve(target)
