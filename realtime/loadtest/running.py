"""The phases of a load test: connect, publish, wait for what is on its way, leave."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from realtime.loadtest.aims import Aims
from realtime.loadtest.crowd import Crowd
from realtime.loadtest.publishing import Failed, OverHttp, Publisher, ThroughLayer
from realtime.loadtest.tally import Tally

# Without a new update for so long, what is missing counts as lost.
_PATIENCE: Final = 5.0
_LOOK_SECONDS: Final = 0.05


class NothingWorks(Exception):
    """A load test has nothing to measure; says why."""


class Progress(Protocol):
    """Tells how far a phase is."""

    def begin(self, phase: str, total: int) -> Callable[[int], None]: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """`busy`: the share of one core that this process used while it published and received.

    `seconds`: how long it published.
    """

    aims: Aims
    tally: Tally
    published: int
    failed: int
    problem: str
    seconds: float
    busy: float
    stopped: bool

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for arrived once."""
        tally = self.tally
        refused = tally.connected < self.aims.connections
        return not (refused or self.failed or tally.lost or tally.repeated or tally.closed)


async def run(aims: Aims, stop: asyncio.Event, progress: Progress) -> Outcome:
    """Run a load test until it is done or `stop` is set: the outcome has what there is by then.

    Raises NothingWorks if no connection was accepted, or no update was published.
    """
    name = secrets.token_hex(4)
    tally = Tally(name)
    crowd = Crowd(aims, tally)
    way = OverHttp(aims.site, aims.key) if aims.over_http else ThroughLayer()
    publisher = Publisher(aims, way, name)
    busy = _Busy()
    try:
        connecting = crowd.connect(progress.begin("Connecting", aims.connections))
        await _unless(stop, connecting)
        if tally.refused and not tally.connected:
            raise NothingWorks(f"no connection was accepted: {next(iter(tally.refused))}")
        if not stop.is_set():
            busy.begin()
            try:
                await publisher.run(stop, progress.begin("Publishing", aims.updates))
            except Failed as exc:
                raise NothingWorks(str(exc)) from exc
            await _settle(crowd, publisher)
            busy.end()
            tally.lost += sum(each.missing(publisher.heads) for each in crowd.followers)
    finally:
        await crowd.leave()
        await way.close()
    return Outcome(
        aims, tally, publisher.published, publisher.failed, publisher.problem,
        publisher.seconds, busy.share, stop.is_set(),
    )  # fmt: skip


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Await `work`, but only until `stop` is set."""
    working, stopped = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait([working])
    else:
        working.result()


async def _settle(crowd: Crowd, publisher: Publisher) -> None:
    """Wait until every update has arrived, or nothing more arrives."""
    missing, since = -1, time.monotonic()
    while time.monotonic() - since < _PATIENCE:
        left = sum(each.missing(publisher.heads) for each in crowd.followers)
        if not left:
            return
        if left != missing:
            missing, since = left, time.monotonic()
        await asyncio.sleep(_LOOK_SECONDS)


class _Busy:
    """The share of one core that this process uses between `begin` and `end`."""

    def __init__(self) -> None:
        self.share = 0.0
        self._processor = self._clock = 0.0

    def begin(self) -> None:
        self._processor, self._clock = time.process_time(), time.perf_counter()

    def end(self) -> None:
        elapsed = time.perf_counter() - self._clock
        self.share = (time.process_time() - self._processor) / max(elapsed, 1e-9)
