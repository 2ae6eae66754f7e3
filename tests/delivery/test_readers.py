"""A rate limit and an alert filter, with a clock that the test moves."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from realtime.delivery.readers import (
    AlertFilter,
    RateLimitedReader,
    ShownAlerts,
    SocketReader,
    Timer,
)
from realtime.delivery.sockets import PreparedSocket
from realtime.streams import ALERTS_ALL, Stream
from tests.delivery.transport import Transport
from tests.delivery.updates import AAPL, MSFT, alert, price

Messages = list[dict[str, Any]]


class Clock:
    """Time passes in `advance` and nowhere else."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, int, Callable[[str], object], str]] = []
        self.cancelled: set[int] = set()
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[str], object], symbol: str, /) -> Timer:
        number = next(self._numbers)
        heapq.heappush(self.timers, (self.now + delay, number, callback, symbol))
        return Cancel(self, number)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, number, callback, symbol = heapq.heappop(self.timers)
            if number not in self.cancelled:
                callback(symbol)
        self.now = end

    @property
    def pending(self) -> int:
        return sum(number not in self.cancelled for _, number, _, _ in self.timers)


class Cancel:
    def __init__(self, clock: Clock, number: int) -> None:
        self.clock, self.number = clock, number

    def cancel(self) -> None:
        self.clock.cancelled.add(self.number)


def never() -> None:
    raise AssertionError("the outbox was over its limit")


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def socket(transport: Transport) -> PreparedSocket:
    return PreparedSocket(transport, 1_000_000, never)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(socket: PreparedSocket, clock: Clock) -> RateLimitedReader:
    """Two updates a second."""
    return RateLimitedReader(socket, 2.0, clock)


def told(transport: Transport) -> list[tuple[int, int]]:
    """Offset and `folded` of each update that was written."""
    return [(m["offset"], m.get("folded", 0)) for m in transport.texts() if "offset" in m]


# A rate -------------------------------------------------------------------------------------------


def test_the_first_update_does_not_wait(limited: RateLimitedReader, transport: Transport) -> None:
    limited.deliver(price(1))
    assert told(transport) == [(1, 0)]


def test_the_newest_waits_for_its_turn_and_stands_for_the_others(
    limited: RateLimitedReader, transport: Transport, clock: Clock
) -> None:
    for offset in (1, 2, 3, 4):
        limited.deliver(price(offset))
    clock.advance(0.49)
    assert told(transport) == [(1, 0)]
    clock.advance(0.02)
    assert told(transport) == [(1, 0), (4, 2)]


def test_an_update_after_a_quiet_time_does_not_wait(
    limited: RateLimitedReader, transport: Transport, clock: Clock
) -> None:
    limited.deliver(price(1))
    clock.advance(0.5)
    limited.deliver(price(2))
    assert told(transport) == [(1, 0), (2, 0)]
    assert clock.pending == 0


def test_symbols_do_not_wait_for_each_other(
    limited: RateLimitedReader, transport: Transport, clock: Clock
) -> None:
    """One reader serves all symbols of `*`."""
    limited.deliver(price(1, AAPL))
    limited.deliver(price(2, AAPL))
    clock.advance(0.25)
    limited.deliver(price(7, MSFT))
    assert told(transport) == [(1, 0), (7, 0)]
    clock.advance(0.25)
    assert told(transport) == [(1, 0), (7, 0), (2, 0)]


@given(rate=st.floats(0.01, 1000), gaps=st.lists(st.floats(0, 2), max_size=60))
@hypothesis_settings(max_examples=50)
def test_there_are_never_more_than_the_rate(rate: float, gaps: list[float]) -> None:
    clock, transport = Clock(), Transport()
    limited = RateLimitedReader(PreparedSocket(transport, 10**6, never), rate, clock)
    times: list[float] = []

    def write(data: Any) -> None:
        times.append(clock.now)
        transport.writes.append(data)

    limited.socket._write = write  # type: ignore[attr-defined]
    for offset, seconds in enumerate(gaps, 1):
        limited.deliver(price(offset))
        clock.advance(seconds)
    clock.advance(1 / rate + 1)
    assert all(later - sooner > 0.999 / rate for sooner, later in itertools.pairwise(times))
    assert [0, *(offset for offset, _ in told(transport))][-1] == len(gaps), "the newest arrives"


def test_the_head_is_the_newest_that_was_let_through(
    limited: RateLimitedReader, clock: Clock
) -> None:
    """A `ping` that said more would send the client looking for what only waits."""
    for offset in (1, 2, 3):
        limited.deliver(price(offset))
    assert limited.heads == {"AAPL": 1}
    clock.advance(0.5)
    assert limited.heads == {"AAPL": 3}


def test_folded_updates_are_counted(
    limited: RateLimitedReader, socket: PreparedSocket, clock: Clock
) -> None:
    for offset in (1, 2, 3, 4):
        limited.deliver(price(offset))
    clock.advance(1)
    assert socket.outbox.folded == 2


def test_what_waits_for_its_turn_goes_before_a_gap(
    limited: RateLimitedReader, transport: Transport, clock: Clock
) -> None:
    for offset in (1, 2, 3):
        limited.deliver(price(offset))
    limited.deliver_gap(AAPL, 4, 6, "E")
    assert told(transport) == [(1, 0), (3, 1)]
    assert transport.texts()[-1]["type"] == "gap"
    assert limited.heads == {"AAPL": 6}
    assert clock.pending == 0


def test_what_waits_for_its_turn_goes_before_a_snapshot(
    limited: RateLimitedReader, transport: Transport, clock: Clock
) -> None:
    """After a gap: what is left of the history, the newest of it as a snapshot."""
    limited.deliver(price(1))
    limited.deliver_gap(AAPL, 2, 6, "E")
    limited.deliver(price(7))
    limited.deliver(price(8))
    limited.deliver_snapshot(price(9))
    clock.advance(1)
    limited.deliver(price(10))
    assert told(transport) == [(1, 0), (8, 1), (9, 0), (10, 0)]
    assert limited.heads == {"AAPL": 10}


def test_a_reader_that_was_closed_sends_nothing_more(
    limited: RateLimitedReader, transport: Transport, clock: Clock
) -> None:
    limited.deliver(price(1))
    limited.deliver(price(2))
    limited.close()
    assert clock.pending == 0
    clock.advance(10)
    assert told(transport) == [(1, 0)]


def test_states_do_not_wait(limited: RateLimitedReader, transport: Transport) -> None:
    limited.deliver(price(1))
    limited.deliver(price(2))
    limited.deliver_state(AAPL, b'{"type":"stream_status"}')
    assert transport.texts()[-1] == {"type": "stream_status"}


STEP = st.one_of(
    st.tuples(st.just("deliver"), st.sampled_from([AAPL, MSFT])),
    st.tuples(st.just("gap"), st.sampled_from([AAPL, MSFT])),
    st.tuples(st.just("pass"), st.floats(0, 1)),
    st.tuples(st.just("full"), st.booleans()),
)


@given(steps=st.lists(STEP, max_size=80))
def test_offsets_ascend_and_folded_covers_every_jump(steps: list[tuple[str, Any]]) -> None:
    """Also when the transport is full, so that a rate limit and an outbox fold the same stream."""
    clock, transport = Clock(), Transport()
    socket = PreparedSocket(transport, 10**6, never)
    limited = RateLimitedReader(socket, 2.0, clock)
    published = {AAPL: 0, MSFT: 0}
    for kind, value in steps:
        if kind == "deliver":
            published[value] += 1
            limited.deliver(price(published[value], value))
        elif kind == "gap":
            limited.deliver_gap(value, published[value] + 1, published[value] + 5, "E")
            published[value] += 7
            limited.deliver(price(published[value] - 1, value))
            limited.deliver_snapshot(price(published[value], value))
        elif kind == "pass":
            clock.advance(value)
        else:
            transport.paused = value
            socket.writable()
    clock.advance(1)
    transport.paused = False
    socket.writable()
    at = {"AAPL": 0, "MSFT": 0}
    for message in transport.texts():
        symbol = message["symbol"]
        if message["type"] == "gap":
            assert message["from_offset"] == at[symbol] + 1
            at[symbol] = message["to_offset"]
        else:
            assert message["offset"] == at[symbol] + message.get("folded", 0) + 1
            at[symbol] = message["offset"]
    assert at == {stream.symbol: offset for stream, offset in published.items()}


# A filter -----------------------------------------------------------------------------------------


def filtered(transport: Transport) -> list[tuple[int, int]]:
    return [(m["offset"], m.get("filtered", 0)) for m in transport.texts() if "offset" in m]


def test_alerts_below_the_severity_are_counted_not_sent(
    socket: PreparedSocket, transport: Transport
) -> None:
    reader = AlertFilter(socket, "high", None)
    for offset, severity in enumerate(["low", "medium", "high", "critical", "low"], 1):
        reader.deliver(alert(offset, severity=severity))
    assert filtered(transport) == [(3, 2), (4, 0)]
    assert reader.heads == {"all": 4}


@pytest.mark.parametrize("data", [{}, {"severity": "weird"}, {"severity": 7}, {"severity": None}])
def test_an_alert_without_a_known_severity_is_not_held_back(
    socket: PreparedSocket, transport: Transport, data: dict[str, Any]
) -> None:
    AlertFilter(socket, "critical", None).deliver(alert(1, **data))
    assert filtered(transport) == [(1, 0)]


def test_alerts_of_other_symbols_are_held_back(
    socket: PreparedSocket, transport: Transport
) -> None:
    reader = AlertFilter(socket, None, ["AAPL"])
    for offset, symbol in enumerate(["MSFT", "AAPL", "aapl", None, 7], 1):
        reader.deliver(alert(offset, symbol=symbol))
    assert filtered(transport) == [(2, 1), (3, 0), (4, 0), (5, 0)]


def test_no_symbol_at_all_is_not_the_same_as_any_symbol(
    socket: PreparedSocket, transport: Transport
) -> None:
    reader = AlertFilter(socket, None, [])
    reader.deliver(alert(1, symbol="AAPL"))
    reader.deliver(alert(2))
    assert filtered(transport) == [(2, 1)]


def test_both_conditions_hold(socket: PreparedSocket, transport: Transport) -> None:
    reader = AlertFilter(socket, "high", ["AAPL"])
    for offset, (symbol, severity) in enumerate(
        [("AAPL", "low"), ("MSFT", "high"), ("AAPL", "high")], 1
    ):
        reader.deliver(alert(offset, symbol=symbol, severity=severity))
    assert filtered(transport) == [(3, 2)]


def test_a_gap_names_what_was_held_back_right_before_it(
    socket: PreparedSocket, transport: Transport
) -> None:
    """Otherwise the client would look for 2 and 3, which it did not want."""
    reader = AlertFilter(socket, "high", None)
    reader.deliver(alert(1, severity="high"))
    reader.deliver(alert(2, severity="low"))
    reader.deliver(alert(3, severity="low"))
    reader.deliver_gap(ALERTS_ALL, 4, 6, "E")
    reader.deliver(alert(7, severity="high"))
    first, gap, last = transport.texts()
    assert first["offset"] == 1
    assert (gap["from_offset"], gap["to_offset"]) == (2, 6)
    assert (last["offset"], "filtered" in last) == (7, False)


def test_a_new_epoch_begins_at_one_whatever_was_held_back_before(
    socket: PreparedSocket, transport: Transport
) -> None:
    reader = AlertFilter(socket, "high", None)
    reader.deliver(alert(9, severity="low"))
    reader.deliver_gap(ALERTS_ALL, 1, 0, "F")
    reader.deliver(alert(1, severity="high", epoch="F"))
    gap, last = transport.texts()
    assert (gap["from_offset"], gap["to_offset"]) == (1, 0)
    assert (last["offset"], "filtered" in last) == (1, False)


def test_the_newest_alert_after_a_gap_is_filtered_like_any_other(
    socket: PreparedSocket, transport: Transport
) -> None:
    reader = AlertFilter(socket, "high", None)
    reader.deliver_gap(ALERTS_ALL, 1, 4, "E")
    reader.deliver(alert(5, severity="low"))
    reader.deliver_snapshot(alert(6, severity="low"))
    reader.deliver(alert(7, severity="high"))
    reader.deliver_gap(ALERTS_ALL, 8, 9, "E")
    reader.deliver(alert(10, severity="low"))
    reader.deliver_snapshot(alert(11, severity="high"))
    assert filtered(transport) == [(7, 2), (11, 1)]


def test_a_reader_knows_its_socket_and_nothing_else(socket: PreparedSocket) -> None:
    reader = SocketReader(socket)
    with pytest.raises(NotImplementedError):
        reader.deliver(price(1, Stream("market-data", "AAPL")))
    reader.close()


def test_live_alerts_wait_while_older_ones_are_read(
    socket: PreparedSocket, transport: Transport
) -> None:
    shown = ShownAlerts()
    shown.held = []
    AlertFilter(socket, None, None, shown).deliver(alert(1))
    assert filtered(transport) == []
    shown.release()
    assert filtered(transport) == [(1, 0)]


def test_an_alert_that_was_shown_another_way_counts_as_filtered(
    socket: PreparedSocket, transport: Transport
) -> None:
    shown = ShownAlerts()
    reader = AlertFilter(socket, None, None, shown)
    assert shown.is_new("alert-1")
    for offset in (1, 2):
        reader.deliver(alert(offset))
    assert filtered(transport) == [(2, 1)]


def test_a_replay_leaves_the_head_where_the_client_is(
    socket: PreparedSocket, transport: Transport
) -> None:
    reader = AlertFilter(socket, "high", None)
    reader.heads["all"] = 3
    for offset, severity in enumerate(["high", "low", "low"], 1):
        reader.replay(alert(offset, severity=severity))
    assert filtered(transport) == [(1, 0)]
    assert reader.heads == {"all": 1}
