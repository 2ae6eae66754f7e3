"""Order and completeness in one process, with a history that loses, lags and fails on demand."""

import asyncio

import pytest

from realtime.delivery import fanout as module
from realtime.delivery.fanout import Fanout
from realtime.delivery.readers import RateLimitedReader
from realtime.delivery.sockets import PreparedSocket
from realtime.delivery.stream_state import RECENT, Start, StreamState
from realtime.delivery.updates import Update
from realtime.protocol import Position
from realtime.streams import Stream
from tests.delivery.memory import MemoryHistory, Reader
from tests.delivery.transport import Transport
from tests.delivery.updates import AAPL, EVERY, MSFT
from tests.delivery.waiting import until


@pytest.fixture
async def history() -> MemoryHistory:
    return MemoryHistory()


@pytest.fixture
async def fanout(history: MemoryHistory) -> Fanout:
    return Fanout(history)


async def quiet(fanout: Fanout) -> None:
    """Nothing is being read any more."""
    await until(lambda: not fanout._tasks)


async def joined(
    fanout: Fanout, stream: Stream = AAPL, since: Position | None = None, limit: int = 300
) -> Reader:
    """A reader that stands where the stream does now."""
    reader = Reader()
    states = fanout.channel_states(stream.channel) if stream.wildcard else [fanout.state(stream)]
    for state in states:
        await fanout.ready(state)
        if since is not None:
            await fanout.cover(state, since)
    reader.begin({state.stream.symbol: fanout.start(state, since, limit) for state in states})
    fanout.join(stream, reader)
    return reader


def publish(
    history: MemoryHistory, count: int, stream: Stream = AAPL, fanout: Fanout | None = None
) -> list[Update]:
    """New updates; they arrive if a fan-out is given, else the message is lost on its way."""
    updates = [history.publish(stream) for _ in range(count)]
    for update in updates:
        if fanout is not None:
            fanout.receive(update)
    return updates


# Order --------------------------------------------------------------------------------------------


async def test_updates_in_order_are_delivered_at_once_and_ask_nothing(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    reads = history.reads
    publish(history, 5, fanout=fanout)
    assert reader.offsets == [1, 2, 3, 4, 5]
    assert history.reads == reads


async def test_an_update_that_comes_twice_is_delivered_once(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    updates = publish(history, 3, fanout=fanout)
    for update in [*updates, *reversed(updates)]:
        fanout.receive(update)
    await quiet(fanout)
    assert reader.offsets == [1, 2, 3]


async def test_a_hole_is_filled_before_anything_later_goes_out(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 2, fanout=fanout)
    publish(history, 3)
    publish(history, 2, fanout=fanout)
    assert reader.offsets == [1, 2], "later ones wait"
    await quiet(fanout)
    assert reader.events == [("update", n) for n in range(1, 8)]


async def test_updates_that_overtook_each_other_are_put_in_order(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    updates = publish(history, 6)
    for index in (1, 0, 3, 2, 5, 4):
        fanout.receive(updates[index])
        await asyncio.sleep(0)
    await quiet(fanout)
    assert reader.offsets == [1, 2, 3, 4, 5, 6]


async def test_several_holes_are_filled(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    for _ in range(4):
        publish(history, 2)
        publish(history, 1, fanout=fanout)
    history.gate.clear()
    publish(history, 1)
    publish(history, 1, fanout=fanout)
    await until(lambda: history.reads > 1)
    # One more while the answer that does not have it is on its way.
    publish(history, 1)
    publish(history, 1, fanout=fanout)
    history.gate.set()
    await quiet(fanout)
    assert reader.offsets == list(range(1, 17))
    assert not any(event[0] == "gap" for event in reader.events)


async def test_streams_do_not_wait_for_each_other(fanout: Fanout, history: MemoryHistory) -> None:
    one, other = await joined(fanout, AAPL), await joined(fanout, MSFT)
    history.gate.clear()
    publish(history, 1, AAPL)
    publish(history, 1, AAPL, fanout)
    publish(history, 1, MSFT, fanout)
    assert (one.offsets, other.offsets) == ([], [1])
    history.gate.set()
    await quiet(fanout)
    assert one.offsets == [1, 2]


async def test_a_lost_tail_is_found_by_comparing(fanout: Fanout, history: MemoryHistory) -> None:
    """What a reconnect does: no later update tells of the hole."""
    reader = await joined(fanout)
    publish(history, 2, fanout=fanout)
    publish(history, 3)
    fanout.resync_all([AAPL.group, MSFT.group])
    await quiet(fanout)
    assert reader.offsets == [1, 2, 3, 4, 5]


async def test_a_reconnect_does_not_trust_an_answer_from_before_it(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    history.gate.clear()
    fanout.resync_all([AAPL.group])
    await until(lambda: history.reads == 2)
    publish(history, 2)
    fanout.resync_all([AAPL.group])
    history.gate.set()
    await quiet(fanout)
    assert reader.offsets == [1, 2]
    assert history.reads == 3


# What is gone -------------------------------------------------------------------------------------


async def test_what_the_history_trimmed_is_named_and_the_rest_follows(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 2, fanout=fanout)
    publish(history, 7)
    history.trim(AAPL, 3)
    publish(history, 1, fanout=fanout)
    await quiet(fanout)
    epoch = history.life(AAPL).epoch
    assert reader.events[2:] == [
        ("gap", 3, 6, epoch),
        ("update", 7),
        ("update", 8),
        ("update", 9),
        ("snapshot", 10),
    ]


async def test_a_hole_of_any_length_is_filled_page_by_page(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 2, fanout=fanout)
    publish(history, 3 * RECENT)
    publish(history, 1, fanout=fanout)
    await quiet(fanout)
    assert reader.events == [("update", n) for n in range(1, 3 * RECENT + 4)]


async def test_what_a_long_hole_has_lost_is_a_gap_and_the_rest_follows(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 2, fanout=fanout)
    publish(history, 3 * RECENT)
    history.trim(AAPL, 2 * RECENT)
    publish(history, 1, fanout=fanout)
    await quiet(fanout)
    gap, *rest = reader.events[2:]
    assert gap == ("gap", 3, RECENT + 2, history.life(AAPL).epoch)
    assert [offset for _, offset in rest] == list(range(RECENT + 3, 3 * RECENT + 4))


async def test_a_history_that_holds_nothing_is_a_gap_up_to_its_head(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 2, fanout=fanout)
    publish(history, 2)
    history.trim(AAPL, 0)
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    publish(history, 1, fanout=fanout)
    assert reader.events[2:] == [("gap", 3, 4, history.life(AAPL).epoch), ("update", 5)]


# Epochs -------------------------------------------------------------------------------------------


async def test_a_new_epoch_is_announced_by_a_gap(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    publish(history, 3, fanout=fanout)
    history.lose(AAPL)
    publish(history, 2, fanout=fanout)
    await quiet(fanout)
    epoch = history.life(AAPL).epoch
    assert reader.events[3:] == [("gap", 1, 0, epoch), ("update", 1), ("snapshot", 2)]
    assert reader.at == {"AAPL": (epoch, 2)}


async def test_an_empty_history_is_noticed_by_comparing(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 3, fanout=fanout)
    history.lose(AAPL)
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    assert reader.events[3:] == [("gap", 1, 0, history.life(AAPL).epoch)]
    publish(history, 1, fanout=fanout)
    assert reader.events[-1] == ("update", 1)


@pytest.mark.parametrize("published", [0, 1, 2, 3, 7])
async def test_older_data_begins_a_new_epoch(
    fanout: Fanout, history: MemoryHistory, published: int
) -> None:
    """Redis came back with offset 3 of 5; others published before we compared.

    The same offsets now name other updates, so no reader may go on counting from 5.
    """
    reader = await joined(fanout)
    publish(history, 5, fanout=fanout)
    before = history.life(AAPL).epoch
    history.go_back(AAPL, 2)
    publish(history, published)
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    epoch = history.life(AAPL).epoch
    assert epoch != before
    assert reader.events[5:] == [
        ("gap", 4, 3, epoch),
        *(("update", 3 + number) for number in range(1, published + 1)),
    ]
    publish(history, 1, fanout=fanout)
    await quiet(fanout)
    assert reader.at == {"AAPL": (epoch, 4 + published)}


async def test_the_same_data_begins_no_new_epoch(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    publish(history, 5, fanout=fanout)
    before = history.life(AAPL).epoch
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    assert history.life(AAPL).epoch == before
    assert reader.offsets == [1, 2, 3, 4, 5]


async def test_a_message_of_an_ended_epoch_is_asked_about_once(
    fanout: Fanout, history: MemoryHistory
) -> None:
    """It came late; the history knows nothing of it, and never will."""
    reader = await joined(fanout)
    old = publish(history, 9)[-1]
    history.lose(AAPL)
    publish(history, 1)
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    reads, events = history.reads, list(reader.events)
    fanout.receive(old)
    for _ in range(100):
        await asyncio.sleep(0)
    assert history.reads - reads <= 2
    assert reader.events == events
    publish(history, 1, fanout=fanout)
    assert reader.offsets[-1] == 2


async def test_a_message_of_a_life_that_ends_meanwhile_is_not_asked_about_for_ever(
    fanout: Fanout, history: MemoryHistory
) -> None:
    await joined(fanout)
    publish(history, 2, fanout=fanout)
    history.gate.clear()
    late = publish(history, 2)[-1]
    fanout.resync_all([AAPL.group])
    await until(lambda: history.reads == 2)
    history.lose(AAPL)
    fanout.receive(late)
    history.gate.set()
    for _ in range(100):
        await asyncio.sleep(0)
    assert history.reads <= 5


# A history that fails -----------------------------------------------------------------------------


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)


@pytest.mark.usefixtures("_soon")
async def test_a_history_that_fails_is_asked_again_without_a_reconnect(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader, other = await joined(fanout), await joined(fanout, MSFT)
    history.broken = True
    for stream in (AAPL, MSFT):
        publish(history, 1, stream)
        publish(history, 1, stream, fanout)
    await until(lambda: history.reads > 6)
    publish(history, 1, fanout=fanout)
    history.broken = False
    await until(lambda: len(reader.offsets) == 3 and len(other.offsets) == 2)
    publish(history, 1, fanout=fanout)
    assert reader.offsets == [1, 2, 3, 4]
    assert other.offsets == [1, 2]


@pytest.mark.usefixtures("_soon")
async def test_what_waits_does_not_pile_up_while_the_history_fails(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    history.broken = True
    publish(history, 1)
    most = 0
    for _ in range(50):
        publish(history, 100, fanout=fanout)
        state = fanout.state(AAPL)
        most = max(most, len(state.waiting or ()))
        await asyncio.sleep(0.001)
    assert most < 5000
    history.broken = False
    await until(lambda: reader.at["AAPL"][1] == 5001)


@pytest.mark.usefixtures("_soon")
async def test_a_new_reader_waits_for_a_history_that_fails(
    fanout: Fanout, history: MemoryHistory
) -> None:
    publish(history, 3)
    history.broken = True
    joining = asyncio.ensure_future(joined(fanout))
    await until(lambda: history.reads > 2)
    assert not joining.done()
    history.broken = False
    reader = await joining
    assert reader.at == {"AAPL": (history.life(AAPL).epoch, 3)}


@pytest.mark.usefixtures("_soon")
async def test_it_fails_once_more_while_the_epoch_is_being_ended(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 5, fanout=fanout)
    history.go_back(AAPL, 2)
    history.gate.clear()
    fanout.resync_all([AAPL.group])
    await until(lambda: history.reads == 2)
    await asyncio.sleep(0.002)
    history.broken = True
    history.gate.set()
    await until(lambda: history.reads > 3)
    history.broken = False
    await until(lambda: reader.at["AAPL"] == (history.life(AAPL).epoch, 3))
    assert history.life(AAPL).epoch == "epoch-2"


async def test_closing_ends_what_runs(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    history.gate.clear()
    publish(history, 2)
    publish(history, 1, fanout=fanout)
    await until(lambda: history.reads == 2)
    fanout.close()
    await quiet(fanout)
    history.gate.set()
    await asyncio.sleep(0)
    assert reader.events == []


async def test_a_forgotten_stream_reads_no_more(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    history.gate.clear()
    publish(history, 2)
    publish(history, 1, fanout=fanout)
    await until(lambda: history.reads == 2)
    fanout.forget(AAPL.group)
    fanout.forget(AAPL.group)
    history.gate.set()
    await quiet(fanout)
    assert reader.events == []
    assert AAPL.group not in fanout.streams


# While a hole is being filled ---------------------------------------------------------------------


async def test_updates_that_come_meanwhile_follow(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    history.gate.clear()
    publish(history, 2)
    publish(history, 1, fanout=fanout)
    await until(lambda: history.reads == 2)
    publish(history, 3, fanout=fanout)
    assert reader.offsets == []
    history.gate.set()
    await quiet(fanout)
    assert reader.offsets == [1, 2, 3, 4, 5, 6]
    assert history.reads == 2


async def test_a_reader_that_joins_meanwhile_gets_everything_after_its_start(
    fanout: Fanout, history: MemoryHistory
) -> None:
    await joined(fanout)
    publish(history, 2, fanout=fanout)
    history.gate.clear()
    publish(history, 2)
    publish(history, 1, fanout=fanout)
    await until(lambda: history.reads == 2)
    late = await joined(fanout)
    resumed = await joined(fanout, since=Position(history.life(AAPL).epoch, 1))
    assert late.at["AAPL"][1] == 2
    history.gate.set()
    await quiet(fanout)
    assert late.offsets == [3, 4, 5]
    assert resumed.offsets == [2, 3, 4, 5]


async def test_a_reader_that_left_meanwhile_gets_nothing(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    history.gate.clear()
    publish(history, 1)
    publish(history, 1, fanout=fanout)
    await until(lambda: history.reads == 2)
    fanout.leave(AAPL, reader)
    history.gate.set()
    await quiet(fanout)
    assert reader.events == []


# Every symbol -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [AAPL, EVERY], ids=["of the symbol", "of every symbol"])
async def test_a_reader_that_fails_costs_the_others_nothing(
    fanout: Fanout, history: MemoryHistory, stream: Stream, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Reader):
        def deliver(self, update: Update) -> None:
            raise ValueError("cannot convert float NaN to integer")

    fanout.complete.add("market-data")
    fanout.join(stream, Broken())
    reader = await joined(fanout, stream)
    publish(history, 2, fanout=fanout)
    assert reader.offsets == [1, 2]
    assert "NaN" in caplog.text


async def test_a_reader_of_every_symbol_gets_new_streams_from_their_first_update(
    fanout: Fanout, history: MemoryHistory
) -> None:
    publish(history, 3, AAPL)
    fanout.state(AAPL)
    fanout.complete.add("market-data")
    reader = await joined(fanout, EVERY)
    publish(history, 1, AAPL, fanout)
    publish(history, 2, MSFT, fanout)
    await quiet(fanout)
    assert reader.events == [("update", 4), ("update", 1), ("update", 2)]


async def test_a_new_stream_whose_first_updates_were_missed_is_told_from_the_beginning(
    fanout: Fanout, history: MemoryHistory
) -> None:
    fanout.complete.add("market-data")
    reader = await joined(fanout, EVERY)
    publish(history, 3, MSFT)
    publish(history, 1, MSFT, fanout)
    await quiet(fanout)
    assert reader.events == [("update", n) for n in (1, 2, 3, 4)]


async def test_a_reader_of_a_symbol_and_of_every_symbol_gets_each_update_once(
    fanout: Fanout, history: MemoryHistory
) -> None:
    fanout.complete.add("market-data")
    reader = await joined(fanout, AAPL)
    fanout.join(EVERY, reader)
    publish(history, 2, fanout=fanout)
    publish(history, 2)
    history.trim(AAPL, 1)
    publish(history, 2, fanout=fanout)
    await quiet(fanout)
    fanout.tell_stale([AAPL.group], "test")
    assert reader.events == [
        ("update", 1),
        ("update", 2),
        ("gap", 3, 3, history.life(AAPL).epoch),
        ("update", 4),
        ("update", 5),
        ("snapshot", 6),
    ]
    assert reader.states == [("AAPL", "stale")]
    fanout.leave(AAPL, reader)
    publish(history, 1, fanout=fanout)
    fanout.leave(EVERY, reader)
    publish(history, 1, fanout=fanout)
    assert reader.offsets[-1] == 7


async def test_a_socket_with_a_rate_for_one_symbol_gets_it_at_that_rate_alone(
    fanout: Fanout, history: MemoryHistory
) -> None:
    """Two readers of one socket: its own for the symbol, and another for every symbol."""
    transport = Transport()
    socket = PreparedSocket(transport, 10_000, lambda: None)
    fanout.complete.add("market-data")
    await fanout.ready(fanout.state(AAPL))
    limited = RateLimitedReader(socket, 0.001)
    fanout.join(EVERY, socket)
    fanout.join(AAPL, limited)
    publish(history, 3, AAPL, fanout)
    publish(history, 2, MSFT, fanout)
    told = [(message["symbol"], message["offset"]) for message in transport.texts()]
    assert told == [("AAPL", 1), ("MSFT", 1), ("MSFT", 2)]
    fanout.leave(AAPL, socket)  # it is not the one that reads there
    publish(history, 1, AAPL, fanout)
    assert len(transport.texts()) == 3
    fanout.leave(AAPL, limited)
    limited.close()
    publish(history, 1, AAPL, fanout)
    assert transport.texts()[-1]["offset"] == 5


async def test_channels_are_not_mixed(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout, EVERY)
    publish(history, 1, Stream("predictions", "AAPL"), fanout)
    assert reader.events == []


async def test_positions_are_told_by_symbol(fanout: Fanout, history: MemoryHistory) -> None:
    await joined(fanout, AAPL)
    await joined(fanout, MSFT)
    publish(history, 2, AAPL, fanout)
    epochs = {stream.symbol: history.life(stream).epoch for stream in (AAPL, MSFT)}
    assert fanout.positions([AAPL]) == {"AAPL": (epochs["AAPL"], 2)}
    assert fanout.positions([EVERY]) == {"AAPL": (epochs["AAPL"], 2), "MSFT": (epochs["MSFT"], 0)}
    assert fanout.positions([Stream("market-data", "GOOG")]) == {}


# Where a reader begins ----------------------------------------------------------------------------


@pytest.fixture
async def at_ten(fanout: Fanout, history: MemoryHistory) -> StreamState:
    """Ten updates; the process has seen the last five."""
    publish(history, 5)
    await joined(fanout)
    publish(history, 5, fanout=fanout)
    return fanout.state(AAPL)


def told(start: Start) -> tuple[int, bool | None, list[int]]:
    return start.offset, start.recovered, [update.offset for update in start.updates]


async def begin(
    fanout: Fanout, state: StreamState, since: Position | None, limit: int = 300
) -> tuple[int, bool | None, list[int]]:
    if since is not None:
        await fanout.cover(state, since)
    return told(fanout.start(state, since, limit))


async def test_without_a_position_it_begins_with_the_newest(
    fanout: Fanout, at_ten: StreamState
) -> None:
    assert await begin(fanout, at_ten, None) == (10, None, [10])


@pytest.mark.parametrize("offset", range(11))
async def test_everything_after_a_known_position_is_replayed(
    fanout: Fanout, at_ten: StreamState, offset: int
) -> None:
    """From memory, and from the history what was published before this process looked."""
    since = Position(at_ten.epoch, offset)
    assert await begin(fanout, at_ten, since) == (10, True, list(range(offset + 1, 11)))


async def test_the_history_is_asked_only_for_what_is_not_in_memory(
    fanout: Fanout, history: MemoryHistory, at_ten: StreamState
) -> None:
    reads = history.reads
    assert not at_ten.needs_history(Position(at_ten.epoch, 6))
    assert at_ten.needs_history(Position(at_ten.epoch, 3))
    await begin(fanout, at_ten, Position(at_ten.epoch, 6))
    await begin(fanout, at_ten, Position("another", 3))
    assert history.reads == reads
    await begin(fanout, at_ten, Position(at_ten.epoch, 3))
    await begin(fanout, at_ten, Position(at_ten.epoch, 3))
    assert history.reads == reads + 1, "the second time it is in memory"


async def test_the_empty_epoch_stands_before_the_first_update(
    fanout: Fanout, at_ten: StreamState
) -> None:
    """Of a client that was told no epoch, since Redis was away when it connected."""
    assert await begin(fanout, at_ten, Position("", 0)) == (10, True, list(range(1, 11)))
    assert await begin(fanout, at_ten, Position("", 3)) == (10, False, [10])
    assert await begin(fanout, at_ten, Position("", 10)) == (10, False, [10])


async def test_another_epoch_begins_with_a_snapshot(fanout: Fanout, at_ten: StreamState) -> None:
    assert await begin(fanout, at_ten, Position("another", 3)) == (10, False, [10])
    assert await begin(fanout, at_ten, Position("another", 0)) == (10, False, [10])


async def test_more_than_the_limit_begins_with_a_snapshot(
    fanout: Fanout, at_ten: StreamState
) -> None:
    assert await begin(fanout, at_ten, Position(at_ten.epoch, 6), 4) == (10, True, [7, 8, 9, 10])
    assert await begin(fanout, at_ten, Position(at_ten.epoch, 5), 4) == (10, False, [10])


async def test_what_was_trimmed_begins_with_a_snapshot(
    fanout: Fanout, history: MemoryHistory, at_ten: StreamState
) -> None:
    history.trim(AAPL, 7)
    assert await begin(fanout, at_ten, Position(at_ten.epoch, 2)) == (10, False, [10])
    assert await begin(fanout, at_ten, Position(at_ten.epoch, 3)) == (
        10,
        True,
        [4, 5, 6, 7, 8, 9, 10],
    )


async def test_a_reader_from_before_the_first_update_gets_all_of_them(
    fanout: Fanout, history: MemoryHistory
) -> None:
    state = fanout.state(AAPL)
    await fanout.ready(state)
    start = fanout.start(state, None, 300)
    assert told(start) == (0, None, [])
    assert start.epoch == history.life(AAPL).epoch, "known before there is anything"
    publish(history, 3, fanout=fanout)
    assert await begin(fanout, state, Position(start.epoch, 0)) == (3, True, [1, 2, 3])


async def test_a_reader_that_is_ahead_of_this_process_loses_nothing_and_sees_nothing_twice(
    fanout: Fanout, history: MemoryHistory, at_ten: StreamState
) -> None:
    """It comes from another process, which has heard 11 and 12 a moment earlier."""
    eleven, twelve = publish(history, 2)
    reader = await joined(fanout, since=Position(at_ten.epoch, 12))
    fanout.receive(eleven)
    fanout.receive(twelve)
    publish(history, 1, fanout=fanout)
    await quiet(fanout)
    assert reader.events == [("update", 13)]


async def test_a_position_that_nobody_reached_begins_with_a_snapshot(
    fanout: Fanout, at_ten: StreamState
) -> None:
    assert await begin(fanout, at_ten, Position(at_ten.epoch, 99)) == (10, False, [10])


async def test_a_replay_is_not_lost_to_an_update_that_comes_before_it_starts(
    fanout: Fanout, history: MemoryHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many streams each keeps few; what one reader asked for is kept until it has it."""
    monkeypatch.setattr(module, "RECENT_TOTAL", 4)
    publish(history, 20)
    await joined(fanout)
    state = fanout.state(AAPL)
    since = Position(state.epoch, 5)
    await fanout.cover(state, since)
    publish(history, 1, fanout=fanout)
    start = fanout.start(state, since, 300)
    assert told(start) == (21, True, list(range(6, 22)))


# Memory -------------------------------------------------------------------------------------------


async def test_a_stream_remembers_so_many_updates_and_no_more(
    fanout: Fanout, history: MemoryHistory
) -> None:
    await joined(fanout)
    publish(history, RECENT + 100, fanout=fanout)
    recent = fanout.state(AAPL).recent
    assert len(recent) == RECENT
    assert recent[-1].offset == RECENT + 100


async def test_many_streams_remember_fewer_each(
    fanout: Fanout, history: MemoryHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECENT_TOTAL", 100)
    streams = [Stream("market-data", f"S{number}") for number in range(50)]
    for stream in streams:
        await joined(fanout, stream)
    for stream in streams:
        publish(history, 20, stream, fanout)
    assert sum(len(state.recent) for state in fanout.streams.values()) <= 100
    assert all(state.recent for state in fanout.streams.values()), "one each at least"


async def test_streams_that_are_quiet_remember_fewer_when_others_come(
    fanout: Fanout, history: MemoryHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was full when it went quiet."""
    monkeypatch.setattr(module, "RECENT_TOTAL", 100)
    for number in range(64):
        stream = Stream("market-data", f"S{number}")
        await joined(fanout, stream)
        publish(history, 100, stream, fanout)
    assert sum(len(state.recent) for state in fanout.streams.values()) <= 200


# Freshness ----------------------------------------------------------------------------------------


async def test_readers_are_told_once_that_a_stream_is_stale_and_once_that_it_is_fresh(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    for _ in range(3):
        fanout.tell_stale([AAPL.group, MSFT.group], "backend_unavailable")
    assert reader.states == [("AAPL", "stale")]
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    assert reader.states == [("AAPL", "stale"), ("AAPL", "fresh")]


async def test_an_update_makes_a_stream_fresh(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    fanout.tell_stale([AAPL.group], "backend_unavailable")
    publish(history, 2, fanout=fanout)
    assert reader.states == [("AAPL", "stale"), ("AAPL", "fresh")]


@pytest.mark.usefixtures("_soon")
async def test_a_stream_is_not_fresh_before_its_history_was_read(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    fanout.tell_stale([AAPL.group], "backend_unavailable")
    history.broken = True
    fanout.resync_all([AAPL.group])
    await until(lambda: history.reads > 3)
    assert reader.states == [("AAPL", "stale")]
    history.broken = False
    await until(lambda: reader.states == [("AAPL", "stale"), ("AAPL", "fresh")])


# Heads --------------------------------------------------------------------------------------------


async def test_what_has_moved_is_told_in_the_order_in_which_it_moved(
    fanout: Fanout, history: MemoryHistory
) -> None:
    streams = [Stream("market-data", f"S{number}") for number in range(5)]
    for stream in streams:
        await joined(fanout, stream)
    for stream in (*streams, streams[0]):
        publish(history, 1, stream, fanout)
    first, until = fanout.moved("market-data", 0.0, 3)
    rest, _ = fanout.moved("market-data", until, 3)
    assert list(first) == ["S1", "S2", "S3"]
    assert rest == {"S4": 1, "S0": 2}
    assert fanout.moved("market-data", float("inf"), 3)[0] == {}


# The log ------------------------------------------------------------------------------------------


async def test_what_happens_to_all_streams_at_once_is_one_line_in_the_log(
    fanout: Fanout,
    history: MemoryHistory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("realtime.delivery.losses.TELL_SECONDS", 0.02)
    streams = [Stream("market-data", f"S{number}") for number in range(40)]
    for number, stream in enumerate(streams):
        await joined(fanout, stream)
        publish(history, 2, stream, fanout)
        history.lose(stream)
        publish(history, 3, stream)
        if number < 5:
            history.trim(stream, 1)
    fanout.resync_all([stream.group for stream in streams])
    await until(lambda: len(caplog.records) == 2)
    await quiet(fanout)
    lost, begun = [record.message for record in caplog.records]
    assert lost.startswith("10 updates of 5 streams are lost, 2 of them of market-data.S")
    assert begun.startswith("35 streams have a new epoch")
    fanout.close()
