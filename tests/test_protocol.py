"""The wire, pure: what parse() takes, what it refuses and how, and what encode() writes."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realtime import protocol
from realtime.protocol import (
    CloseCode,
    ErrorCode,
    ProtocolError,
    encode,
    parse,
    position_from_query,
    timestamp,
)
from tests import wire

EXAMPLES = json.loads((Path(__file__).parent / "wire_examples.json").read_text())
FROM_SERVER: list[dict[str, Any]] = EXAMPLES["server_to_client"]
FROM_CLIENT: list[dict[str, Any]] = EXAMPLES["client_to_server"]
# What no struct describes: a publisher writes these, up to their offset.
BODIES = {
    "prediction_update": lambda m: protocol.prediction_body(m["symbol"], m["data"]),
    "market_data_update": lambda m: protocol.market_data_body(m["symbol"], m["data"]),
    "alert": lambda m: protocol.alert_body(m["id"], m["audience"], m["data"]),
}
STRUCTS = {
    str(kind.__struct_config__.tag): kind
    for parent in (protocol.ServerMessage, protocol.Subscribed)
    for kind in parent.__subclasses__()
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
# Objects that are nearly messages: known names with any values.
near_messages = st.dictionaries(
    st.sampled_from(
        [
            "type",
            "id",
            "symbol",
            "symbols",
            "since",
            "max_rate",
            "horizon",
            "config",
            "ids",
            "token",
        ]
    ),
    json_values | st.sampled_from(["AAPL", "subscribe", ["AAPL"], {"AAPL": {"offset": 1}}]),
).flatmap(
    lambda fields: st.sampled_from(protocol.CLIENT_TYPES).map(lambda kind: {**fields, "type": kind})
)


def refusal(message: object) -> ProtocolError:
    text = message if isinstance(message, str | bytes) else json.dumps(message)
    with pytest.raises(ProtocolError) as info:
        parse(text)
    return info.value


def error_sent_for(message: object) -> dict[str, Any]:
    """The error that a client gets, as it reads it."""
    return wire.checked(encode(refusal(message).error()).decode())


# Parsing never breaks -----------------------------------------------------------------------


@given(st.text())
@example("{" * 100_000)
@example("[" * 100_000)
@example('{"type":"pong","id":' + "9" * 5000 + "}")
@example('{"type":"status","id":1e999}')
@example('{"type":"\\ud800"}')
@example('"\\ud800"')
@example("\ufeff{}")
@example("NaN")
def test_any_text_is_a_message_or_a_protocol_error(text: str) -> None:
    _message_or_error(text)


@given(st.binary())
@example(b'{"type":"\xff"}')
@example(b'{"type":"pong","id":"\xed\xa0\x80"}')
@example(b"\x00")
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    _message_or_error(data)


@given(json_values)
@example({"type": "subscribe", "symbols": [{"a": [{}]}]})
def test_any_json_is_a_message_or_a_protocol_error(value: object) -> None:
    _message_or_error(json.dumps(value))


@given(near_messages)
@example({"type": "subscribe", "since": {"a.b[0]": {"epoch": 1, "offset": 0}}})
def test_nearly_a_message_is_a_message_or_a_protocol_error(value: dict[str, Any]) -> None:
    _message_or_error(json.dumps(value))


def _message_or_error(text: str | bytes) -> None:
    try:
        message = parse(text)
    except ProtocolError as exc:
        sent = wire.checked(encode(exc.error()).decode())
        assert len(sent["message"]) < 1000
    else:
        assert isinstance(message, protocol.ClientMessage)


# Refusals name the field --------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "not json", "{'type': 'pong'}", '{"type": NaN}', b"\xff"]
)
def test_what_is_not_json_is_refused_as_such(text: str | bytes) -> None:
    error = error_sent_for(text)
    assert error["code"] == "invalid_json"
    assert error["retry"] is False


@pytest.mark.parametrize("text", ["null", "1", '"pong"', '["pong"]', "[]", "true"])
def test_what_is_no_object_is_refused(text: str) -> None:
    assert error_sent_for(text)["code"] == "invalid_message"


@pytest.mark.parametrize("kind", ["", "PONG", "PING", "connected", "__init__", "websocket.connect"])
def test_an_unknown_type_is_refused_with_the_known_ones(kind: str) -> None:
    error = error_sent_for({"type": kind})
    assert error["code"] == "unknown_type"
    for known in ("pong", "subscribe", "unsubscribe", "request_prediction", "status"):
        assert known in error["message"]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({}, "type"),
        ({"symbol": "AAPL"}, "type"),
        ({"type": 7}, "type"),
        ({"type": None}, "type"),
        ({"type": "pong", "extra": 1}, "extra"),
        ({"type": "pong", "id": 1.5}, "id"),
        ({"type": "pong", "id": ["a"]}, "id"),
        ({"type": "pong", "id": True}, "id"),
        ({"type": "status", "id": "x" * 65}, "id"),
        ({"type": "status", "id": 10**64}, "id"),
        ({"type": "subscribe", "symbol": 7}, "symbol"),
        ({"type": "subscribe", "symbols": "AAPL"}, "symbols"),
        ({"type": "subscribe", "symbols": []}, "symbols"),
        ({"type": "subscribe", "symbols": [1]}, "symbols"),
        ({"type": "subscribe", "symbol": "AAPL", "symbols": ["MSFT"]}, "symbols"),
        ({"type": "subscribe", "symbol": "AAPL", "since": 4}, "since"),
        ({"type": "subscribe", "symbol": "AAPL", "since": {"AAPL": 4}}, "since"),
        ({"type": "subscribe", "symbol": "AAPL", "since": {"AAPL": {"offset": 4}}}, "epoch"),
        ({"type": "subscribe", "symbol": "AAPL", "since": {"AAPL": {"epoch": "e"}}}, "offset"),
        (
            {"type": "subscribe", "symbol": "A", "since": {"A": {"epoch": "e", "offset": -1}}},
            "offset",
        ),
        (
            {"type": "subscribe", "symbol": "A", "since": {"A": {"epoch": "e", "offset": 1.5}}},
            "offset",
        ),
        ({"type": "subscribe", "symbol": "AAPL", "max_rate": 0}, "max_rate"),
        ({"type": "subscribe", "symbol": "AAPL", "max_rate": -1}, "max_rate"),
        ({"type": "subscribe", "symbol": "AAPL", "max_rate": 5e-324}, "max_rate"),
        ({"type": "subscribe", "symbol": "AAPL", "max_rate": 1001}, "max_rate"),
        ({"type": "subscribe", "symbol": "AAPL", "max_rate": "fast"}, "max_rate"),
        ({"type": "unsubscribe"}, "symbols"),
        ({"type": "unsubscribe", "symbol": "AAPL"}, "symbol"),
        ({"type": "request_prediction", "horizon": 0}, "horizon"),
        ({"type": "request_prediction", "horizon": 31}, "horizon"),
        ({"type": "request_prediction", "horizon": 1.5}, "horizon"),
        ({"type": "request_prediction", "symbol": ["AAPL"]}, "symbol"),
        ({"type": "configure_alerts"}, "config"),
        ({"type": "configure_alerts", "config": []}, "config"),
        ({"type": "configure_alerts", "config": {"volume": 1}}, "volume"),
        ({"type": "configure_alerts", "config": {"min_severity": "loud"}}, "min_severity"),
        ({"type": "configure_alerts", "config": {"dry_run": "yes"}}, "dry_run"),
        ({"type": "ack"}, "ids"),
        ({"type": "ack", "ids": "a"}, "ids"),
        ({"type": "auth"}, "token"),
        ({"type": "auth", "token": 1}, "token"),
        ({"type": "auth", "token": ""}, "token"),
    ],
)
def test_a_wrong_shape_is_refused_with_its_field(message: dict[str, Any], field: str) -> None:
    error = error_sent_for(message)
    assert error["code"] == "invalid_message"
    assert field in error["message"]
    assert field in error["details"]["field"]


def test_a_wrong_choice_is_refused_with_the_choices() -> None:
    error = error_sent_for({"type": "configure_alerts", "config": {"min_severity": "urgent"}})
    assert error["message"] == "config.min_severity: must be one of low, medium, high, critical"


@pytest.mark.parametrize(
    "message",
    [
        {"type": "status", "x" * 60_000: 1},
        {"type": "subscribe", "symbol": "A", "since": {"A": {"x" * 60_000: 1}}},
        {"type": "configure_alerts", "config": {"min_severity": "x" * 60_000}},
    ],
)
def test_long_words_of_a_client_do_not_come_back_whole(message: dict[str, Any]) -> None:
    assert len(json.dumps(error_sent_for(message))) < 1000


def test_a_token_never_comes_back_in_an_error() -> None:
    secret = "ara_abcdefgh.verysecretpart"
    for message in (
        {"type": "auth", "token": [secret]},
        {"type": "auth", "token": secret, "id": [secret]},
        {"type": "auth", "tokens": secret},
        f'{{"type": "auth", "token": "{secret}"',
    ):
        assert "verysecretpart" not in json.dumps(error_sent_for(message))


# Ids come back ------------------------------------------------------------------------------


@given(st.text(max_size=64) | st.integers(-(10**18), 10**18))
def test_an_id_comes_back_from_any_refusal(id: str | int) -> None:
    for message in (
        {"type": "nothing", "id": id},
        {"type": "subscribe", "symbols": 7, "id": id},
        {"type": "pong", "extra": 1, "id": id},
        {"type": "subscribe", "symbol": "A", "symbols": ["B"], "id": id},
        {"id": id},
    ):
        assert error_sent_for(message)["id"] == id


@given(st.text(max_size=64) | st.integers(-(2**63), 2**63))
def test_an_id_is_kept_in_any_message(id: str | int) -> None:
    assert parse(json.dumps({"type": "status", "id": id})).id == id


@pytest.mark.parametrize("id", ["x" * 65, 10**64, 1.5, {"a": 1}, True])
def test_what_is_no_id_does_not_come_back(id: object) -> None:
    assert "id" not in error_sent_for({"type": "nothing", "id": id})


def test_an_id_of_64_characters_is_allowed() -> None:
    assert parse(json.dumps({"type": "pong", "id": "ä" * 64})).id == "ä" * 64


# Codes and times ----------------------------------------------------------------------------


def test_close_codes_are_those_of_the_contract() -> None:
    assert {code.name: code.value for code in CloseCode} == wire.CLOSE_CODES


def test_error_codes_are_those_of_the_contract() -> None:
    assert {code.value for code in ErrorCode} == wire.ERROR_CODES


def test_client_types_are_those_of_the_contract() -> None:
    assert set(protocol.CLIENT_TYPES) == {
        "pong", "ping", "subscribe", "unsubscribe", "request_prediction", "configure_alerts",
        "ack", "auth", "status",
    }  # fmt: skip


@given(st.datetimes(timezones=st.timezones() | st.just(timezone(timedelta(hours=5, minutes=30)))))
@example(datetime(2024, 1, 1, 12, tzinfo=UTC))
@example(datetime(999, 1, 1, tzinfo=UTC))
def test_a_timestamp_is_utc_in_milliseconds(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:  # outside of the years 1 to 9999
        return
    text = timestamp(moment)
    assert wire.moment(text)
    read = datetime.fromisoformat(text)
    assert timedelta(0) <= expected - read < timedelta(milliseconds=1)


# Positions in the URL -----------------------------------------------------------------------


def test_a_position_is_read_from_the_query() -> None:
    position = position_from_query(b"token=x&epoch=k3J&offset=42")
    assert position == protocol.Position("k3J", 42)


@pytest.mark.parametrize("query", [b"", b"token=x", b"epoch=&offset=", b"depoch=1"])
def test_a_query_may_have_no_position(query: bytes) -> None:
    assert position_from_query(query) is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (b"epoch=e", "offset"),
        (b"epoch=e&offset=", "offset"),
        (b"epoch=e&offset=-1", "offset"),
        (b"epoch=e&offset=1.5", "offset"),
        (b"epoch=e&offset=1_0", "offset"),
        (b"epoch=e&offset=%D9%A1", "offset"),
        (b"epoch=e&offset=" + b"9" * 5000, "offset"),
        (b"offset=1&epoch=" + b"e" * 65, "epoch"),
    ],
)
def test_half_a_position_in_the_query_is_refused_with_the_field(query: bytes, field: str) -> None:
    with pytest.raises(ProtocolError) as info:
        position_from_query(query)
    assert info.value.details == {"field": field}
    assert "?epoch=" in info.value.message


@given(st.binary(max_size=200) | st.builds(lambda n: b"epoch=e&offset=" + n, st.binary()))
@example(b"&".join([b"epoch=1"] * 1000))
@example("epoch=e&offset=\u0661".encode())
@example(b"epoch=e&offset=%C2%B2")
def test_any_query_is_a_position_or_none_or_refused(query: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        position = position_from_query(query)
        assert position is None or 0 <= position.offset < 2**63


# The examples -------------------------------------------------------------------------------


def _name(message: dict[str, Any]) -> str:
    return str(message["type"])


@pytest.mark.parametrize("message", FROM_CLIENT, ids=_name)
def test_an_example_from_a_client_is_understood_whole(message: dict[str, Any]) -> None:
    parsed = msgspec.to_builtins(parse(json.dumps(message)))
    assert parsed.items() >= message.items()


@pytest.mark.parametrize("message", FROM_SERVER, ids=_name)
def test_an_example_from_the_server_keeps_the_contract(message: dict[str, Any]) -> None:
    wire.check_server_message(message)


@pytest.mark.parametrize("message", FROM_SERVER, ids=_name)
def test_an_example_from_the_server_is_what_the_server_writes(message: dict[str, Any]) -> None:
    if message["type"] in BODIES and "request_id" not in message:
        suffix = b"".join(
            [
                protocol.SUFFIX_SNAPSHOT if message.get("snapshot") else b"",
                protocol.SUFFIX_REPLAYED if message.get("replayed") else b"",
                protocol.folded(message["folded"]) if "folded" in message else b"",
                protocol.begun(message["epoch"]) if "epoch" in message else b"",
            ]
        )
        body = BODIES[message["type"]](message)
        written = json.loads(protocol.update_text(body, message["offset"], suffix))
        written["timestamp"] = message["timestamp"]
    else:
        written = json.loads(encode(msgspec.convert(message, STRUCTS[message["type"]])))
    assert written == message


def test_every_type_of_the_contract_is_sent() -> None:
    assert STRUCTS.keys() | BODIES.keys() == wire.SERVER_MESSAGES.keys()


def test_every_type_has_an_example() -> None:
    assert {_name(message) for message in FROM_SERVER} == set(wire.SERVER_MESSAGES)
    assert {_name(message) for message in FROM_CLIENT} == set(protocol.CLIENT_TYPES)


# Updates ------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(), json_values), st.integers(1, 2**53))
def test_an_update_reads_as_it_was_published(data: dict[str, Any], offset: int) -> None:
    try:
        body = protocol.market_data_body("AAPL", data)
    except (OverflowError, ValueError):
        return  # numbers or texts that JSON does not hold; broadcast refuses them before
    message = wire.checked(protocol.update_text(body, offset).decode())
    assert message["data"] == data
    assert message["offset"] == offset
    assert protocol.update_data(body) == data


def test_an_update_without_an_offset_is_one_object_too() -> None:
    body = protocol.prediction_body("AAPL", {"predicted_price": 1})
    message = json.loads(protocol.update_text(body, None))
    assert "offset" not in message
    assert message["data"] == {"predicted_price": 1}
