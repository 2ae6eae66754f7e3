"""The fan-out under any order of events that a network, a Redis and its clients can produce.

Each reader checks what it is given as it comes (`tests/delivery/memory.py`): every offset exactly
once and in order, or named by a gap. At the end, when everything works again, it must stand at the
head of the history.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from realtime.delivery import fanout as module
from realtime.delivery import stream_state as states
from realtime.delivery.process_layer import Local
from realtime.delivery.publisher import BackendUnavailable
from realtime.delivery.updates import Update
from realtime.protocol import Position
from realtime.streams import Stream
from tests.delivery.clock import ClockLoop
from tests.delivery.memory import MemoryHistory, Reader
from tests.delivery.updates import AAPL, EVERY, MSFT
from tests.patience import PATIENCE

STREAMS = [AAPL, MSFT]
LIMIT = 6  # updates that one `since` may replay

stream = st.sampled_from(STREAMS)
small = st.integers(0, 5)
OPERATION = st.one_of(
    # The usual thing more often than the others.
    st.tuples(st.just("flow"), stream, st.integers(1, 4)),
    st.tuples(st.just("flow"), stream, st.integers(1, 4)),
    st.tuples(st.just("publish"), stream, st.integers(1, 4)),
    st.tuples(st.just("arrive"), small),
    st.tuples(st.just("arrive"), small),
    st.tuples(st.just("lose_message"), small),
    st.tuples(st.just("double_message"), small),
    st.tuples(st.just("turns"), st.integers(1, 6)),
    st.tuples(st.just("seconds"), st.floats(0.1, 6)),
    st.tuples(st.just("trim"), stream, st.integers(0, 4)),
    st.tuples(st.just("empty"), stream),
    st.tuples(st.just("go_back"), stream, st.integers(1, 3), st.integers(0, 4)),
    st.tuples(st.just("reconnect")),
    st.tuples(st.just("break_history"), st.booleans()),
    st.tuples(st.just("delay_history"), st.booleans()),
    st.tuples(st.just("join"), st.sampled_from([AAPL, MSFT, EVERY])),
    st.tuples(st.just("leave"), small),
    st.tuples(st.just("come_back"), small),
)

# A reader comes back whose updates are read from the history, and meanwhile others arrive.
MORE_COMES_WHILE_IT_IS_READ: list[tuple[Any, ...]] = [
    ("arrive", 0), ("flow", AAPL, 1), ("turns", 4), ("leave", 0), ("come_back", 0),
    ("flow", AAPL, 1), ("flow", AAPL, 1), ("flow", AAPL, 1), ("flow", AAPL, 3), ("empty", AAPL),
    ("delay_history", True), ("flow", AAPL, 1), ("flow", AAPL, 3), ("flow", AAPL, 4),
    ("reconnect",), ("turns", 3),
]  # fmt: skip


@dataclass
class Place:
    """A reader, what it reads, and the task that lets it join."""

    reads: Stream
    reader: Reader = field(default_factory=Reader)
    joining: "asyncio.Task[None] | None" = None


class World:
    """One process, its Redis, and the messages that are on their way between them."""

    def __init__(self) -> None:
        self.history = MemoryHistory()
        self.local = Local(self.history, lambda channel: 100)
        # As the layer has it once somebody reads every symbol: all streams are known.
        for each in STREAMS:
            self.local.fanout.state(each)
        self.local.fanout.complete.add("market-data")
        self.wire: list[Update] = []
        self.here: list[Place] = []
        self.gone: list[Place] = []

    @property
    def fanout(self) -> module.Fanout:
        return self.local.fanout

    def flow(self, stream: Stream, count: int) -> None:
        """Updates arrive as they are published."""
        self.publish(stream, count)
        while self.wire:
            self.arrive(0)

    def publish(self, stream: Stream, count: int) -> None:
        self.wire += [self.history.publish(stream) for _ in range(count)]

    def arrive(self, index: int) -> None:
        if self.wire:
            self.fanout.receive(self.wire.pop(index % len(self.wire)))

    def lose_message(self, index: int) -> None:
        if self.wire:
            self.wire.pop(index % len(self.wire))

    def double_message(self, index: int) -> None:
        if self.wire:
            self.wire.insert(0, self.wire[index % len(self.wire)])

    def trim(self, stream: Stream, keep: int) -> None:
        self.history.trim(stream, keep)

    def empty(self, stream: Stream) -> None:
        """Redis lost its data, and with it the connection."""
        self.wire = [update for update in self.wire if update.stream != stream]
        self.history.lose(stream)
        self.fanout.resync_all([stream.group])

    def go_back(self, stream: Stream, count: int, published: int) -> None:
        """Redis came back with older data, and publishers were faster than we."""
        self.wire = [update for update in self.wire if update.stream != stream]
        self.history.go_back(stream, count)
        for _ in range(published):
            self.history.publish(stream)
        self.fanout.resync_all([stream.group])

    def reconnect(self) -> None:
        self.wire.clear()
        self.fanout.tell_stale(list(self.fanout.streams), "backend_unavailable")
        self.fanout.resync_all(list(self.fanout.streams))

    def break_history(self, broken: bool) -> None:
        self.history.broken = broken

    def delay_history(self, delayed: bool) -> None:
        (self.history.gate.clear if delayed else self.history.gate.set)()

    def join(self, stream: Stream) -> None:
        self._enter(Place(stream), {})

    def leave(self, index: int) -> None:
        if self.here:
            place = self.here.pop(index % len(self.here))
            if place.joining is not None and not place.joining.done():
                place.joining.cancel()
            else:
                self.gone.append(place)
            self.fanout.leave(place.reads, place.reader)

    def come_back(self, index: int) -> None:
        """With the position that the reader left at; what it has then must follow from that."""
        if self.gone:
            place = self.gone.pop(index % len(self.gone))
            since = {name: Position(epoch, at) for name, (epoch, at) in place.reader.at.items()}
            self._enter(Place(place.reads), since)

    def _enter(self, place: Place, since: dict[str, Position]) -> None:
        place.joining = asyncio.get_running_loop().create_task(self._join(place, since))
        self.here.append(place)

    async def _join(self, place: Place, since: dict[str, Position]) -> None:
        while True:
            try:
                await self.local.prepare(place.reads, since)
                break
            except BackendUnavailable:
                await asyncio.sleep(0.2)  # as a subscription does
        starts = self.local.start(place.reads, place.reader, since, LIMIT)
        for symbol, start in starts.items():
            if start.recovered:
                assert start.epoch == since[symbol].epoch
                assert start.head - len(start.updates) == since[symbol].offset
                assert len(start.updates) <= LIMIT
            else:
                assert [u.offset for u in start.updates] in ([], [start.offset])
        place.reader.begin(starts)

    async def settle(self) -> None:
        """Everything works again, and the connection is made once more."""
        self.break_history(False)
        self.delay_history(False)
        self.reconnect()
        for stream in STREAMS:
            self.flow(stream, 1)
        await asyncio.sleep(2 * module.RETRY_SECONDS)
        for place in self.here:
            assert place.joining is not None
            await asyncio.wait_for(place.joining, PATIENCE)
        assert not self.fanout._tasks, "nothing is being read any more"


async def run(operations: list[tuple[Any, ...]]) -> None:
    world = World()
    for each in (AAPL, MSFT, EVERY):
        world.join(each)
    for name, *arguments in operations:
        if name == "turns":
            for _ in range(arguments[0]):
                await asyncio.sleep(0)
        elif name == "seconds":
            await asyncio.sleep(arguments[0])
        else:
            getattr(world, name)(*arguments)
    await world.settle()
    head = {each.symbol: world.history.life(each) for each in STREAMS}
    for place in world.here:
        symbols = [place.reads.symbol] if not place.reads.wildcard else list(head)
        expected = {symbol: (head[symbol].epoch, head[symbol].offset) for symbol in symbols}
        assert place.reader.at == expected
        assert [word for _, word in place.reader.states][-1:] in ([], ["fresh"])
    for each in STREAMS:
        state = world.fanout.state(each)
        assert state.waiting is None
        assert len(state.recent) <= states.RECENT
    world.fanout.close()


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few updates are already more than can be remembered or replayed."""
    for each in (module, states):
        monkeypatch.setattr(each, "RECENT", 8)
    monkeypatch.setattr(module, "RECENT_TOTAL", 10)


@pytest.mark.usefixtures("_small")
@example(operations=MORE_COMES_WHILE_IT_IS_READ)
@given(operations=st.lists(OPERATION, min_size=20, max_size=80))
@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_reader_gets_every_offset_once_or_is_told(operations: list[tuple[Any, ...]]) -> None:
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(run(operations))
