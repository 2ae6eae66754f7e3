"""Which pages may open a WebSocket."""

import pytest

from realtime.access.identity import ANONYMOUS
from realtime.access.origins import origin_allowed


def allowed(origin: str) -> bool:
    return origin_allowed([(b"origin", origin.encode("latin-1"))], ANONYMOUS)


@pytest.mark.parametrize(
    "origin",
    ["http://localhost", "https://LOCALHOST:8443", "http://127.0.0.1:5173", "http://[::1]", "null"],
)
def test_a_page_of_this_host_may(origin: str) -> None:
    assert allowed(origin)


@pytest.mark.parametrize(
    "origin",
    ["", "localhost", "//localhost", "http://localhost.evil.example", "http://evil.example:80",
     "http://localhost@evil.example", "http://evil.example@localhost", "http://[::1",
     "http://evil.example\\@localhost", "http://evil.example/localhost", "http://localhost/x",
     "http://evil.example#localhost", "http://evil.example?localhost", "file://"],
)  # fmt: skip
def test_another_one_may_not(origin: str) -> None:
    assert not allowed(origin)
