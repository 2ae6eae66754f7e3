"""The outbox beside a list that is searched from the front: slow, and easy to be sure of."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (  # fmt: skip
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from realtime.delivery.outbox import SNAPSHOT, Outbox
from realtime.delivery.updates import FirstUpdate, Update
from realtime.streams import Stream
from tests.delivery.updates import AAPL, MSFT, alert, price

STREAMS = [AAPL, MSFT, Stream("market-data", "BTC/USD")]


def everything(outbox: Outbox) -> list[Any]:
    return [json.loads(text) for text in outbox.take(1_000_000)]


def test_it_is_empty_at_first() -> None:
    outbox = Outbox(100)
    assert not outbox
    assert not outbox.full
    assert outbox.take(100) == []


def test_the_update_that_names_an_epoch_is_not_folded() -> None:
    outbox = Outbox(1000)
    first = price(1)
    outbox.put_update(FirstUpdate(first.stream, first.epoch, 1, first.body))
    for offset in (2, 3):
        outbox.put_update(price(offset))
    told = [(text["offset"], text.get("epoch"), text.get("folded")) for text in everything(outbox)]
    assert told == [(1, "E", None), (3, None, 1)]


def test_texts_leave_in_the_order_in_which_they_came() -> None:
    outbox = Outbox(100)
    for text in (b"one", b"two", b"three"):
        outbox.put(text)
    assert outbox.take(1000) == [b"one", b"two", b"three"]
    assert not outbox


def test_one_update_that_waits_leaves_as_it_is() -> None:
    outbox = Outbox(1000)
    update = price(1)
    outbox.put_update(update)
    assert outbox.take(1) == [update.text]


def test_a_newer_update_takes_the_place_of_an_older_one() -> None:
    outbox = Outbox(1000)
    outbox.put_update(price(1))
    outbox.put(b'"ping"')
    outbox.put_update(price(2))
    outbox.put_update(price(3))
    newest, ping = everything(outbox)
    assert (newest["offset"], newest["folded"]) == (3, 2)
    assert ping == "ping"
    assert outbox.folded == 2


def test_updates_of_other_streams_do_not_fold() -> None:
    outbox = Outbox(1000)
    outbox.put_update(price(1, AAPL))
    outbox.put_update(price(7, MSFT))
    assert [item["offset"] for item in everything(outbox)] == [1, 7]


def test_alerts_are_never_folded() -> None:
    outbox = Outbox(1000)
    for offset in (1, 2, 3):
        outbox.put_update(alert(offset))
    assert [item["offset"] for item in everything(outbox)] == [1, 2, 3]
    assert outbox.folded == 0


def test_what_was_taken_is_not_folded_into() -> None:
    outbox = Outbox(1000)
    outbox.put_update(price(1))
    outbox.take(1)
    outbox.put_update(price(2))
    assert "folded" not in everything(outbox)[0]


def test_an_update_that_already_stands_for_others_brings_their_number() -> None:
    outbox = Outbox(1000)
    outbox.put_update(price(1))
    outbox.put_update(price(5), 3)
    assert everything(outbox)[0]["folded"] == 4


def test_what_waits_when_it_is_sealed_is_not_replaced() -> None:
    """Behind a seal stands a text that speaks of the offsets before it: a gap, a snapshot."""
    outbox = Outbox(1000)
    outbox.put_update(price(5))
    outbox.seal()
    outbox.put(b'"gap from 6 to 9"')
    outbox.put_update(price(10))
    outbox.put_update(price(11))
    first, gap, last = everything(outbox)
    assert (first["offset"], "folded" in first) == (5, False)
    assert gap == "gap from 6 to 9"
    assert (last["offset"], last["folded"]) == (11, 1)


def test_it_is_full_when_more_than_its_limit_waits() -> None:
    outbox = Outbox(10)
    outbox.put(b"1234567890")
    before = outbox.full
    outbox.put(b"1")
    assert (before, outbox.full) == (False, True)
    outbox.clear()
    assert (outbox.full, bool(outbox)) == (False, False)


def test_a_thousand_updates_of_one_stream_take_the_room_of_one() -> None:
    outbox = Outbox(1000)
    for offset in range(1, 1001):
        outbox.put_update(price(offset))
    assert outbox.size == len(price(1000).body)
    assert everything(outbox)[0]["folded"] == 999


@dataclass
class Waiting:
    """One entry of the list beside the outbox: a text, or an update and how many it replaced."""

    text: bytes | None
    update: Update | None = None
    folded: int = 0
    sealed: bool = False

    @property
    def size(self) -> int:
        if self.text is not None:
            return len(self.text)
        assert self.update is not None
        return len(self.update.body)

    def render(self) -> bytes:
        if self.text is not None:
            return self.text
        assert self.update is not None
        return self.update.folded_text(self.folded) if self.folded else self.update.text


class OutboxMachine(RuleBasedStateMachine):
    """Any order of puts and takes."""

    @initialize(limit=st.integers(0, 2000))
    def begin(self, limit: int) -> None:
        self.outbox = Outbox(limit)
        self.waiting: list[Waiting] = []
        self.published = dict.fromkeys(STREAMS, 0)
        self.received = dict.fromkeys(STREAMS, 0)
        self.alerts = self.alerts_received = 0
        self.folded = 0

    @rule(text=st.binary(min_size=1, max_size=300))
    def put(self, text: bytes) -> None:
        self.outbox.put(b"." + text)  # JSON of an update begins with "{"
        self.waiting.append(Waiting(b"." + text))

    @rule(stream=st.sampled_from(STREAMS), size=st.integers(0, 300), held=st.integers(0, 3))
    def put_update(self, stream: Stream, size: int, held: int) -> None:
        """`held` updates before it were replaced before they came here."""
        self.published[stream] += held + 1
        update = price(self.published[stream], stream, padding="x" * size)
        self.outbox.put_update(update, held)
        for entry in self.waiting:
            if entry.update is not None and entry.update.stream == stream and not entry.sealed:
                entry.update = update
                entry.folded += held + 1
                self.folded += 1
                return
        self.waiting.append(Waiting(None, update, held))

    @rule()
    def put_alert(self) -> None:
        self.alerts += 1
        update = alert(self.alerts)
        self.outbox.put_update(update)
        self.waiting.append(Waiting(update.text))

    @rule()
    def seal(self) -> None:
        self.outbox.seal()
        for entry in self.waiting:
            entry.sealed = True

    @rule(limit=st.integers(1, 1500))
    def take(self, limit: int) -> None:
        taken = self.outbox.take(limit)
        assert len(taken) == min(1, len(self.waiting)) or len(taken) > 1
        assert sum(map(len, taken[:-1])) < limit, "the last one alone may go beyond the limit"
        if len(taken) < len(self.waiting):
            assert sum(map(len, taken)) >= limit, "there was room for one more"
        assert taken == [entry.render() for entry in self.waiting[: len(taken)]]
        for entry in self.waiting[: len(taken)]:
            self.receive(entry.render())
        del self.waiting[: len(taken)]

    def receive(self, text: bytes) -> None:
        """What a client does: the number of each update follows from the one before."""
        if not text.startswith(b"{"):
            return
        message = json.loads(text)
        if message["type"] == "alert":
            self.alerts_received += 1
            assert message["offset"] == self.alerts_received
            return
        stream = Stream("market-data", message["symbol"])
        assert message["offset"] - self.received[stream] == message.get("folded", 0) + 1
        self.received[stream] = message["offset"]

    @precondition(lambda self: self.waiting)
    @rule()
    def clear(self) -> None:
        """The socket is being closed: what waits is lost."""
        self.outbox.clear()
        self.waiting.clear()
        self.received.update(self.published)
        self.alerts_received = self.alerts

    @invariant()
    def bytes_are_counted_exactly(self) -> None:
        assert self.outbox.size == sum(entry.size for entry in self.waiting)
        assert self.outbox.full == (self.outbox.size > self.outbox.limit)
        assert bool(self.outbox) == bool(self.waiting)
        assert self.outbox.folded == self.folded


OutboxMachine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40)
TestOutboxBesideAList = OutboxMachine.TestCase


# What is not counted ------------------------------------------------------------------------------


def test_what_the_server_sends_once_does_not_fill_it() -> None:
    outbox = Outbox(10)
    outbox.put_once(("answer", None), b"x" * 1000)
    for stream in STREAMS:
        outbox.put_once((SNAPSHOT, stream), price(1, stream))
    assert (outbox.size, outbox.full) == (0, False)
    assert outbox.take(1) == [b"x" * 1000]
    assert [text["snapshot"] for text in everything(outbox)] == [True, True, True]
    assert not outbox


def test_a_second_one_of_the_same_kind_and_stream_is_counted_while_the_first_waits() -> None:
    outbox = Outbox(10)
    for _ in range(2):
        outbox.put_once((SNAPSHOT, AAPL), price(1))
    assert outbox.full
    assert len(everything(outbox)) == 2
    assert outbox.size == 0
    outbox.put_once((SNAPSHOT, AAPL), price(1))
    assert not outbox.full


def test_a_state_takes_the_place_of_the_one_that_waits() -> None:
    outbox = Outbox(10)
    for text in (b"stale", b"fresh"):
        outbox.put_once(("state", AAPL), text, replace=True)
    assert outbox.take(1000) == [b"fresh"]


def test_updates_behind_their_snapshot_fold_and_do_not_fill_it() -> None:
    outbox = Outbox(10)
    outbox.put_once((SNAPSHOT, AAPL), price(5))
    for offset in (6, 7, 8):
        outbox.put_update(price(offset))
    assert (outbox.size, outbox.full) == (0, False)
    told = [(text["offset"], text.get("folded")) for text in everything(outbox)]
    assert told == [(5, None), (8, 2)]
    outbox.put_update(price(9))
    assert outbox.full
    everything(outbox)
    assert outbox.size == 0


def test_clearing_forgets_what_was_not_counted_as_well() -> None:
    outbox = Outbox(10)
    outbox.put_once((SNAPSHOT, AAPL), price(5))
    outbox.clear()
    outbox.put_once((SNAPSHOT, AAPL), price(6))
    assert outbox.size == 0


def test_snapshots_of_many_streams_have_one_place_in_it() -> None:
    outbox = Outbox(10)
    outbox.put_once(("answer", None), b'{"symbol":"answer","offset":0}')
    outbox.put_snapshots([price(5, stream) for stream in STREAMS])
    outbox.put_update(price(6))
    outbox.put_update(price(7))
    assert (outbox.size, outbox.full) == (0, False)
    told = [(each["symbol"], each["offset"], each.get("folded")) for each in everything(outbox)]
    assert told[1:4] == [("AAPL", 5, None), ("MSFT", 5, None), ("BTC/USD", 5, None)]
    assert (told[0][0], told[4:]) == ("answer", [("AAPL", 7, 1)])
    assert not outbox
    outbox.put_update(price(8))
    assert outbox.full


def test_whoever_begins_again_and_again_without_reading_fills_it() -> None:
    outbox = Outbox(10)
    for _ in range(3):
        outbox.put_snapshots([price(5, stream) for stream in STREAMS])
    assert outbox.full
    outbox.clear()
    assert not outbox.full
