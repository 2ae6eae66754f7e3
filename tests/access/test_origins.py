"""Which pages may open a WebSocket."""

from typing import Any

import pytest

from realtime.access.identity import ANONYMOUS
from realtime.access.origins import origin_allowed


def allowed(origin: str) -> bool:
    return origin_allowed([(b"origin", origin.encode("latin-1"))], ANONYMOUS)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://LOCALHOST:8443",
        "http://127.0.0.1:5173",
        "http://[::1]",
        "http://[::1]:8000",
        "capacitor://localhost",
    ],
)
def test_a_page_of_this_host_may(origin: str) -> None:
    assert allowed(origin)


@pytest.mark.parametrize(
    "origin",
    ["", "localhost", "//localhost", "http://localhost.evil.example", "http://evil.example:80",
     "http://localhost@evil.example", "http://evil.example@localhost", "http://[::1",
     "http://evil.example\\@localhost", "http://evil.example/localhost", "http://localhost/x",
     "http://evil.example#localhost", "http://evil.example?localhost", "file://",
     "null", "http://[::1].evil.example", "http://[::1]evil.example", "http://[::1]:8.evil.example",
     "http://localhost:80.evil.example", "http://localhost:x", "http://[::1]]", "http://a[::1]",
     "http://localhost evil.example", "http://localhost\tevil.example", "http://localhost%00"],
)  # fmt: skip
def test_another_one_may_not(origin: str) -> None:
    assert not allowed(origin)


def test_pages_without_an_origin_may_if_that_is_said(settings: Any) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = ["https://app.example.com", "null"]
    assert allowed("null")
    settings.REALTIME_ALLOWED_ORIGINS = ["https://app.example.com"]
    assert not allowed("null")


@pytest.mark.parametrize(
    "origin",
    ["https://[::1].example.com", "https://evil.example/.example.com", "https://a@b.example.com"],
)
def test_a_pattern_takes_no_more_than_hosts(origin: str, settings: Any) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = ["https://*.example.com"]
    assert allowed("https://app.example.com")
    assert not allowed(origin)


def test_two_origins_are_none() -> None:
    headers = [(b"origin", b"http://localhost"), (b"origin", b"http://evil.example")]
    assert not origin_allowed(headers, ANONYMOUS)


# Lists ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ("https://A.example", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://*.bücher.example", "https://shop.xn--bcher-kva.example"),
        ("http://[::1]:5173", "http://[::1]:5173"),
        ("null", "file://"),
    ],
)
def test_a_list_may_spell_an_origin_otherwise_than_browsers(
    pattern: str, origin: str, settings: Any
) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = [pattern]
    assert allowed(origin)


@pytest.mark.parametrize("origin", ["https://strasse.example", "https://xn--strae-oqa.example"])
def test_a_name_that_may_mean_two_matches_neither(origin: str, settings: Any) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = ["https://straße.example"]
    assert not allowed(origin)


@pytest.mark.parametrize("origin", ["https://a.example", "http://a.example:443", "null"])
def test_another_port_or_scheme_is_another_origin(origin: str, settings: Any) -> None:
    settings.REALTIME_ALLOWED_ORIGINS = ["https://a.example:8443", "http://a.example"]
    assert not allowed(origin)


def test_a_new_project_of_a_developer_lets_its_own_pages_in(settings: Any) -> None:
    settings.DEBUG, settings.ALLOWED_HOSTS = True, []
    assert allowed("http://localhost:8000")
    assert allowed("http://127.0.0.1:8000")
    assert not allowed("http://evil.example")
    settings.DEBUG = False
    assert not allowed("http://localhost:8000")
