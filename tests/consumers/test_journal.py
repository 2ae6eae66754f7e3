"""A line in the log for each connection that begins and ends, but not for each one of a storm."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser

from ara_project.asgi import application
from realtime.access.identity import ANONYMOUS, Identity
from realtime.session.journal import LINES_PER_SECOND, Journal
from tests.delivery.waiting import until

Lines = Callable[[], list[logging.LogRecord]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.INFO, "realtime.connections")
    return lambda: [each for each in caplog.records if each.name == "realtime.connections"]


async def test_a_connection_has_two_lines(lines: Lines) -> None:
    socket = WebsocketCommunicator(application, "/ws/market-data/AAPL")
    await socket.connect()
    told = await socket.receive_json_from()
    await socket.disconnect(code=1001)
    begun, ended = map(vars, lines())
    assert begun["connection_id"] == ended["connection_id"] == told["connection_id"]
    assert (ended["code"], ended["channel"], ended["user"]) == (1001, "market-data", None)
    assert ended["credential"] == "anonymous"
    assert ended["duration"] >= 0


@dataclass
class Example:
    connection_id: str = "c"
    connected_at: float = 0.0
    close_code: int = 1006
    endpoint: str = "alerts"
    identity: Identity = field(default_factory=lambda: ANONYMOUS)

    def client_address(self) -> str | None:
        assert isinstance(self.identity.user, AnonymousUser)
        return "192.0.2.1"


async def test_a_storm_has_few_lines_and_a_count(lines: Lines) -> None:
    journal, storm = Journal(), 1000
    for _ in range(storm):
        journal.opened(Example())
        await asyncio.sleep(0)
    await until(lambda: sum(vars(each).get("suppressed", 1) for each in lines()) == storm)
    assert LINES_PER_SECOND <= len(lines()) < storm / 2


async def test_without_the_level_nothing_is_prepared(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, "realtime.connections")
    monkeypatch.setattr(Example, "client_address", None)
    Journal().opened(Example())
    assert caplog.records == []
