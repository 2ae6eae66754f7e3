import asyncio
from collections.abc import Awaitable, Callable

import pytest

from realtime.broadcast import PublishFailed
from realtime.retry import MOST, Retry, Stopped, full_jitter, set_within
from tests.feeds.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def failing(times: int) -> Callable[[], Awaitable[str]]:
    """An operation that fails so many times, then returns "done"."""
    left = times

    async def operation() -> str:
        nonlocal left
        if left:
            left -= 1
            raise PublishFailed("Connection refused")
        return "done"

    return operation


def test_the_pause_is_anything_up_to_a_bound_that_doubles() -> None:
    assert [full_jitter(attempt, 1.0) for attempt in range(7)] == [0.5, 1, 2, 4, 8, 16, 20]
    assert full_jitter(5, 0.0) == 0.0
    assert full_jitter(10_000, 0.5) == MOST / 2


async def test_an_operation_is_tried_until_it_succeeds(clock: Clock) -> None:
    retry = Retry(asyncio.Event(), clock.sleep, random=lambda: 1.0)
    assert await retry.until_done(failing(3)) == "done"
    assert clock.sleeps == [0.5, 1.0, 2.0]


async def test_an_outage_is_reported_once_and_its_end_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    retry = Retry(asyncio.Event(), clock.sleep)
    await retry.until_done(failing(20))
    await retry.until_done(failing(0))
    begin, end = caplog.messages
    assert "Connection refused" in begin
    assert end == "back after 20 more tries"


async def test_stopping_ends_a_pause_at_once() -> None:
    stop = asyncio.Event()
    retry = Retry(stop, random=lambda: 1.0)
    trying = asyncio.create_task(retry.until_done(failing(10**9)))
    stop.set()
    with pytest.raises(Stopped):
        await asyncio.wait_for(trying, 0.4)


async def test_another_error_is_not_tried_again(clock: Clock) -> None:
    async def operation() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Retry(asyncio.Event(), clock.sleep).until_done(operation)
    assert clock.sleeps == []


async def test_an_event_is_awaited_no_longer_than_said() -> None:
    event = asyncio.Event()
    assert await set_within(event, 0.01) is False
    event.set()
    assert await set_within(event, 60) is True


async def test_a_wait_that_is_cancelled_as_it_ends_is_cancelled() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(set_within(event, 60))
    for _ in range(3):  # whatever tasks it makes wait now
        await asyncio.sleep(0)
    event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
