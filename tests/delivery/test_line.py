"""Which HTTP requests are begun, and what one connection costs the others."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from realtime.delivery.line import WAITING_FOR_EACH, Line
from realtime.delivery.turns import Turns
from tests.delivery.transport import Transport
from tests.delivery.waiting import until


class Requests:
    """Requests in a line of one place: which were begun, and with which thread."""

    def __init__(self) -> None:
        self.line = Line()
        self.begun: list[int] = []
        self.threads: list[ThreadPoolExecutor] = []

    def enter(self, number: int) -> bool:
        def start(thread: ThreadPoolExecutor) -> None:
            self.begun.append(number)
            self.threads.append(thread)

        return self.line.enter(number, start)

    async def finish(self, app: Any = None, *, blocked: bool = False) -> None:
        async def nothing(*args: Any) -> None: ...

        await self.line.work(self.threads[-1], app or nothing, nothing, lambda: blocked)


@pytest.fixture
def requests(settings: Any) -> Requests:
    settings.REALTIME_HTTP_CONCURRENCY = 1
    return Requests()


async def test_requests_are_begun_in_order_in_the_same_thread(requests: Requests) -> None:
    assert all(requests.enter(number) for number in range(3))
    for _ in range(3):
        await requests.finish()
    assert requests.begun == [0, 1, 2]
    assert len(set(requests.threads)) == 1
    assert requests.line.working == 0


async def test_a_request_whose_peer_is_gone_is_not_begun(requests: Requests) -> None:
    assert all(requests.enter(number) for number in range(3))
    requests.line.leave(1)
    await requests.finish()
    assert requests.begun == [0, 2]


def test_a_line_has_an_end(requests: Requests) -> None:
    assert all(requests.enter(number) for number in range(1 + WAITING_FOR_EACH))
    assert not requests.enter(99)


async def test_a_view_that_fails_gives_its_place_back(requests: Requests) -> None:
    async def fails(*args: Any) -> None:
        raise ZeroDivisionError

    requests.enter(0)
    with pytest.raises(ZeroDivisionError):
        await requests.finish(fails)
    assert requests.line.working == 0


async def test_an_answer_that_is_not_read_gives_its_place_to_the_next(requests: Requests) -> None:
    async def answers(send: Any) -> None:
        await send({})
        assert requests.begun == [0, 1]

    requests.enter(0)
    requests.enter(1)
    await requests.finish(answers, blocked=True)


class Sender(Transport):
    """A connection with so many slices to parse."""

    def __init__(self, slices: int, log: list[str], name: str) -> None:
        super().__init__()
        self.slices, self.log, self.name = slices, log, name
        self.aborted = False

    def take_turn(self) -> bool:
        self.log.append(self.name)
        self.slices -= 1
        if self.slices < 0:
            raise ValueError(self.name)
        return self.slices > 0

    def abort(self) -> None:
        self.aborted = True


async def test_connections_take_turns() -> None:
    log: list[str] = []
    turns = Turns()
    for name in "ab":
        turns.add(Sender(3, log, name))
    await until(lambda: len(log) == 6)
    assert "".join(log) == "ababab"


async def test_a_connection_that_cannot_be_parsed_stops_no_other() -> None:
    log: list[str] = []
    turns, bad = Turns(), Sender(0, log, "bad")
    turns.add(bad)
    turns.add(Sender(1, log, "good"))
    await until(lambda: len(log) == 2)
    await asyncio.sleep(0)
    assert bad.aborted
