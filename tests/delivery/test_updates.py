"""The texts of one update: the same bytes up to the offset, and what only some readers get."""

import json
from typing import Any

import pytest

from realtime.delivery.updates import Update
from realtime.protocol import alert_body, market_data_body, prediction_body
from realtime.streams import ALERTS_ALL, Stream
from tests.delivery.updates import AAPL, alert, price
from tests.wire import checked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (price(7).text, {}),
        (price(7).snapshot_text, {"snapshot": True}),
        (price(7).folded_text(3), {"folded": 3}),
        (price(7).replayed_text, {}),
        (alert(7).text, {}),
        (alert(7).replayed_text, {"replayed": True}),
        (alert(7).filtered_text(2), {"filtered": 2}),
    ],
)
def test_a_text_is_the_body_the_offset_and_what_this_reader_gets(
    text: bytes, expected: dict[str, Any]
) -> None:
    message = checked(text.decode())
    assert message["offset"] == 7
    extras = {"snapshot", "folded", "replayed", "filtered"} & message.keys()
    assert {name: message[name] for name in extras} == expected


@pytest.mark.parametrize(
    ("stream", "body"),
    [
        (AAPL, market_data_body("AAPL", {"price": 1.5})),
        (Stream("predictions", "AAPL"), prediction_body("AAPL", {"price": 1.5})),
        (ALERTS_ALL, alert_body("a", "all", {"price": 1.5})),
    ],
)
def test_readers_inside_the_server_get_the_data(stream: Stream, body: bytes) -> None:
    update = Update(stream, "E", 2**53, body)
    assert update.data == {"price": 1.5}
    assert update.data is update.data, "parsed once"
    assert checked(update.text.decode())["offset"] == 2**53


def test_a_frame_holds_the_text_and_is_made_once() -> None:
    update = price(1, padding="ü" * 100)
    assert update.frame is update.frame
    assert update.frame.endswith(update.text)
    assert json.loads(update.text)["data"]["padding"] == "ü" * 100


def test_alerts_are_never_replaced_by_newer_ones() -> None:
    assert price(1).foldable
    assert not alert(1).foldable
