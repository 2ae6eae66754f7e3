"""What a client must not send: every time an answer, and the connection lives on."""

from typing import Any

import pytest

from realtime.broadcast import abroadcast_prediction_update
from tests.clients import Open

# A frame, the error code (empty: one of BINARY_CODES), and what the message must name.
BAD_FRAMES: dict[str, tuple[str | bytes, str, str]] = {
    "no JSON": ("hello", "invalid_json", ""),
    "half an object": ('{"type": "pong"', "invalid_json", ""),
    "empty": ("", "invalid_json", ""),
    "a number": ("7", "invalid_message", ""),
    "a list": ('[{"type": "pong"}]', "invalid_message", ""),
    "no type": ("{}", "invalid_message", "type"),
    "an unknown type": ('{"type": "buy"}', "unknown_type", "buy"),
    "a handler's name": ('{"type": "stream.update"}', "unknown_type", "stream.update"),
    "a server's type": ('{"type": "connected"}', "unknown_type", "connected"),
    "an unknown field": ('{"type": "pong", "x": 1}', "invalid_message", "x"),
    "a wrong shape": ('{"type": "subscribe", "symbols": "A"}', "invalid_message", "symbols"),
    "a wrong id": ('{"type": "status", "id": {}}', "invalid_message", "id"),
    "a horizon": ('{"type": "request_prediction", "horizon": 31}', "invalid_message", "horizon"),
    "deep": ('{"type":' * 5000, "invalid_json", ""),
    "binary": (b'{"type": "pong"}', "", ""),
    "binary rubbish": (b"\x00\xff\xfe", "", ""),
    "nothing, binary": (b"", "", ""),
}
BINARY_CODES = ("invalid_message", "invalid_json")


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_bad_input_is_answered_and_the_connection_lives_on(connect: Open, name: str) -> None:
    frame, code, field = BAD_FRAMES[name]
    client = await connect("/ws/predictions/AAPL")
    await client.send_frame(frame)
    error = await client.next()
    assert error["type"] == "error"
    assert error["code"] == code or (not code and error["code"] in BINARY_CODES)
    assert error["retry"] is False
    assert field in error["message"]
    await client.assert_quiet()
    await abroadcast_prediction_update("AAPL", {"predicted_price": 1})
    assert (await client.next())["type"] == "prediction_update"


async def test_nineteen_invalid_messages_in_a_minute_are_borne(connect: Open) -> None:
    client = await connect("/ws/predictions/AAPL")
    for _ in range(19):
        await client.send_frame("no")
    await client.assert_alive()
    assert len(client.of_type("error")) == 19


async def test_twenty_invalid_messages_in_a_minute_close_the_socket(connect: Open) -> None:
    client = await connect("/ws/predictions/AAPL")
    for _ in range(20):
        await client.send_frame("no")
    assert await client.closed() == 4400
    assert len(client.of_type("error")) >= 19


async def test_a_request_that_cannot_be_served_is_not_an_invalid_message(connect: Open) -> None:
    client = await connect("/ws/market-data/AAPL")
    for _ in range(25):
        await client.ask("unsubscribe", symbols=["MSFT"])
    await client.assert_alive()


@pytest.mark.parametrize(
    ("path", "request_type", "fields"),
    [
        ("/ws/alerts", "request_prediction", {"symbol": "AAPL"}),
        ("/ws/market-data/AAPL", "configure_alerts", {"config": {}}),
        ("/ws/predictions/AAPL", "ack", {"ids": ["x"]}),
    ],
)
async def test_a_request_on_the_wrong_endpoint_is_an_error(
    connect: Open, path: str, request_type: str, fields: dict[str, Any]
) -> None:
    client = await connect(path)
    answer = await client.ask(request_type, **fields)
    assert answer["type"] == "error"
    await client.assert_alive()


@pytest.mark.parametrize(
    ("path", "kind", "fields", "endpoint"),
    [
        ("/ws/market-data/AAPL", "request_prediction", {}, "/ws/predictions/{symbol}"),
        ("/ws/predictions/AAPL", "ack", {"ids": ["a"]}, "/ws/alerts"),
        ("/ws/market-data/AAPL", "configure_alerts", {"config": {}}, "/ws/alerts"),
    ],
)
async def test_what_another_endpoint_answers_is_told_with_its_path(
    connect: Open, path: str, kind: str, fields: dict[str, Any], endpoint: str
) -> None:
    client = await connect(path)
    await client.send(kind, **fields)
    error = await client.until("error", code="invalid_message")
    assert error["message"].endswith(f": send it on {endpoint}")
