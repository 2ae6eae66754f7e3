"""Messages as server-sent events, and the ids from which their reader resumes."""

import pytest

from realtime.delivery.event_stream import EventStream, parse_event_id
from realtime.protocol import Gap, InvalidPosition, Position, ServerShutdown, StreamInfo, encode
from realtime.protocol import Subscribed as Answer


def answer(**streams: StreamInfo) -> bytes:
    return encode(Answer(channel="market-data", symbols=list(streams), streams=streams))


def update(symbol: str, offset: int, more: str = "") -> bytes:
    text = (
        f'{{"type":"market_data_update","symbol":"{symbol}","data":{{}},"offset":{offset}{more}}}'
    )
    return text.encode()


def id_of(event: bytes) -> str | None:
    """The field `id` of an event, if it has one."""
    for line in event.decode().splitlines():
        if line.startswith("id: "):
            return line.removeprefix("id: ")
    return None


def test_an_event_is_its_message_and_the_position_behind_it() -> None:
    stream = EventStream({})
    stream.event(answer(A=StreamInfo("e", 4)))
    text = update("A", 5)
    assert stream.event(text) == b"id: e:5\ndata: " + text + b"\n\n"


def test_before_the_snapshot_the_reader_does_not_have_it() -> None:
    assert id_of(EventStream({}).event(answer(A=StreamInfo("e", 4)))) == "e:3"
    assert id_of(EventStream({}).event(answer(A=StreamInfo("e", 0)))) == "e:0"


def test_during_a_replay_the_reader_stands_where_it_is() -> None:
    stream = EventStream({"A": Position("e", 2)})
    assert id_of(stream.event(answer(A=StreamInfo("e", 9, recovered=True, replayed=7)))) == "e:2"
    assert id_of(stream.event(update("A", 3))) == "e:3"


def test_a_position_that_was_not_recovered_is_given_up() -> None:
    stream = EventStream({"A": Position("old", 7)})
    assert id_of(stream.event(answer(A=StreamInfo("e", 4, recovered=False)))) == "e:3"


def test_one_id_has_all_streams() -> None:
    stream = EventStream({})
    stream.event(answer(A=StreamInfo("e", 0), **{"EURUSD=X": StreamInfo("f", 0)}))
    text = id_of(stream.event(update("EURUSD=X", 1)))
    assert text == "A=e:0,EURUSD=X=f:1"
    assert parse_event_id(text, ["A", "EURUSD=X"]) == {
        "A": Position("e", 0), "EURUSD=X": Position("f", 1)
    }  # fmt: skip


def test_behind_a_gap_the_new_epoch_counts() -> None:
    stream = EventStream({})
    stream.event(answer(A=StreamInfo("e", 5)))
    gap = encode(Gap(symbol="A", from_offset=6, to_offset=9, epoch="f"))
    assert id_of(stream.event(gap)) == "f:9"
    assert id_of(stream.event(update("A", 10))) == "f:10"


def test_what_moves_nobody_has_no_id() -> None:
    stream = EventStream({})
    stream.event(answer(A=StreamInfo("e", 0)))
    request = b'{"type":"prediction_update","symbol":"A","data":{},"request_id":"r"}'
    assert id_of(stream.event(request)) is None


def test_a_goodbye_says_when_to_come_back() -> None:
    event = EventStream({}).event(encode(ServerShutdown(reconnect_in_ms=250)))
    assert event.startswith(b"retry: 250\ndata: ")


@pytest.mark.parametrize("text", ["", "e", "e:", ":1", "e:-1", "A=e", "A=e:1,", "A=e:1,B", "é:1x"])
def test_what_is_not_an_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidPosition):
        parse_event_id(text, ["A"])
