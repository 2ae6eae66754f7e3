"""One timer for all sockets: who is called when, with a loop whose time the test moves."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from realtime.delivery.heartbeat import MAX_SLICES, Heartbeat, Pings, heartbeat
from tests.delivery.clock import ClockLoop


@pytest.fixture
def loop() -> Iterator[ClockLoop]:
    loop = ClockLoop()
    yield loop
    loop.close()


class Socket:
    """Notes when it was called, and with which cache of texts."""

    def __init__(self, loop: ClockLoop, on_beat: Callable[[], None] | None = None) -> None:
        self.loop, self.on_beat = loop, on_beat
        self.beats: list[float] = []
        self.texts: list[int] = []

    def beat(self, texts: Pings) -> None:
        self.beats.append(round(self.loop.now, 6))
        self.texts.append(id(texts))
        if self.on_beat is not None:
            self.on_beat()


def pass_time(loop: ClockLoop, seconds: float) -> None:
    loop.run_until_complete(asyncio.sleep(seconds))


def join(loop: ClockLoop, hearts: Heartbeat, *sockets: Socket) -> None:
    async def main() -> None:
        for socket in sockets:
            hearts.add(socket)

    loop.run_until_complete(main())


def test_the_first_beat_comes_after_a_whole_interval_and_then_every_one(loop: ClockLoop) -> None:
    hearts, socket = Heartbeat(30), Socket(loop)
    join(loop, hearts, socket)
    pass_time(loop, 100)
    assert socket.beats == [30, 60, 90]


@pytest.mark.parametrize("interval", [0.2, 1, 1.5, 7, 30, 45])
def test_a_socket_that_comes_later_waits_between_one_slice_less_and_a_whole_interval(
    loop: ClockLoop, interval: float
) -> None:
    """The timer runs already; nobody is pinged right after connecting."""
    hearts, first, second = Heartbeat(interval), Socket(loop), Socket(loop)
    slice_length = interval / max(1, min(MAX_SLICES, int(interval)))
    join(loop, hearts, first)
    pass_time(loop, interval * 1.4)
    came = loop.now
    join(loop, hearts, second)
    pass_time(loop, interval * 3)
    waited = second.beats[0] - came
    assert interval - slice_length - 1e-6 <= waited <= interval + 1e-6
    apart = {round(b - a, 6) for a, b in zip(second.beats, second.beats[1:], strict=False)}
    assert apart <= {round(interval, 6)}


def test_sockets_that_came_together_share_texts_and_others_do_not(loop: ClockLoop) -> None:
    hearts = Heartbeat(30)
    early, early_too, late = Socket(loop), Socket(loop), Socket(loop)
    join(loop, hearts, early, early_too)
    pass_time(loop, 10)
    join(loop, hearts, late)
    pass_time(loop, 45)
    assert early.texts[0] == early_too.texts[0]
    assert early.beats[0] != late.beats[0]


def test_a_thousand_sockets_over_time_are_spread_over_the_interval(loop: ClockLoop) -> None:
    hearts = Heartbeat(30)
    sockets = [Socket(loop) for _ in range(1000)]

    async def main() -> None:
        for socket in sockets:
            hearts.add(socket)
            await asyncio.sleep(0.03)
        await asyncio.sleep(30)

    loop.run_until_complete(main())
    moments = [moment for socket in sockets for moment in socket.beats]
    assert max(moments.count(moment) for moment in set(moments)) <= 40


def test_a_removed_socket_is_not_called_and_the_timer_ends_with_the_last(loop: ClockLoop) -> None:
    hearts, one, other = Heartbeat(1), Socket(loop), Socket(loop)
    join(loop, hearts, one, other)
    pass_time(loop, 1.5)
    hearts.remove(one)
    hearts.remove(one)
    pass_time(loop, 1)
    assert (len(one.beats), len(other.beats)) == (1, 2)
    hearts.remove(other)
    pass_time(loop, 2)
    with pytest.raises(AssertionError, match="nothing is due"):
        loop.run_until_complete(loop.create_future())


def test_it_starts_again_after_the_last_one_left(loop: ClockLoop) -> None:
    hearts, one, other = Heartbeat(10), Socket(loop), Socket(loop)
    join(loop, hearts, one)
    pass_time(loop, 15)
    hearts.remove(one)
    pass_time(loop, 15)
    came = loop.now
    join(loop, hearts, other)
    pass_time(loop, 25)
    assert [moment - came for moment in other.beats] == [10, 20]


def test_a_beat_that_fails_does_not_stop_the_others(
    loop: ClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    hearts, bad, good = Heartbeat(1), Socket(loop, fail), Socket(loop)
    join(loop, hearts, bad, good)
    pass_time(loop, 2.5)
    assert len(good.beats) == 2
    assert "a heartbeat failed" in caplog.text


def test_a_socket_may_leave_during_its_beat(loop: ClockLoop) -> None:
    hearts = Heartbeat(1)
    leaving, staying = Socket(loop), Socket(loop)
    leaving.on_beat = lambda: hearts.remove(leaving)
    join(loop, hearts, leaving, staying)
    pass_time(loop, 3.5)
    assert len(leaving.beats) == 1
    assert len(staying.beats) == 3


def test_a_socket_that_left_during_a_beat_of_another_is_not_called(loop: ClockLoop) -> None:
    hearts = Heartbeat(1)
    first, second = Socket(loop), Socket(loop)
    first.on_beat = lambda: hearts.remove(second)
    join(loop, hearts, first, second)
    pass_time(loop, 1.5)
    assert second.beats == []


async def test_an_event_loop_has_one_heartbeat_for_each_interval() -> None:
    assert heartbeat(30) is heartbeat(30)
    assert heartbeat(30) is not heartbeat(5)


def test_event_loops_have_their_own() -> None:
    async def mine() -> int:
        return id(heartbeat(30))

    with asyncio.Runner() as one, asyncio.Runner() as two:
        assert one.run(mine()) != two.run(mine())


def test_a_closed_event_loop_is_forgotten_when_the_next_one_beats(loop: ClockLoop) -> None:
    async def beat() -> weakref.ref[Any]:
        heartbeat(30).add(Socket(loop))
        return weakref.ref(asyncio.get_running_loop())

    with asyncio.Runner() as runner:
        closed = runner.run(beat())
    del runner
    with asyncio.Runner() as runner:
        runner.run(beat())
    gc.collect()
    assert closed() is None
