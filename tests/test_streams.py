"""Symbols, streams, and the group names that carry them."""

import re
import string

import pytest
from channels.layers import BaseChannelLayer
from hypothesis import assume, given
from hypothesis import strategies as st

from realtime.streams import (
    ALERTS_ALL,
    CHANNELS,
    WILDCARD,
    InvalidSymbol,
    Stream,
    parse_symbol,
    symbol_stream,
    user_alerts,
)

FIRST = string.ascii_uppercase + string.digits + "^"
REST = FIRST + ".-_=:/"

symbols = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from(FIRST),
    st.text(st.sampled_from(REST), max_size=31),
)
symbol_channels = st.sampled_from(["predictions", "market-data"])
streams = st.one_of(
    st.builds(symbol_stream, symbol_channels, symbols),
    st.builds(symbol_stream, symbol_channels, st.just(WILDCARD)),
    st.just(ALERTS_ALL),
    st.builds(user_alerts, st.integers(1, 2**63)),
)


@given(streams, streams)
def test_two_streams_never_share_a_group(one: Stream, other: Stream) -> None:
    assume(one != other)
    assert one.group != other.group


@given(streams)
def test_every_group_name_is_valid_for_channels(stream: Stream) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9\-_.]{1,99}", stream.group)
    assert BaseChannelLayer().require_valid_group_name(stream.group)


@given(streams)
def test_a_stream_comes_back_from_its_group(stream: Stream) -> None:
    assert Stream.from_group(stream.group) == stream


@given(st.text())
def test_any_other_group_is_no_stream_or_the_one_of_that_name(group: str) -> None:
    stream = Stream.from_group(group)
    assert stream is None or stream.group == group


@given(
    st.sampled_from([*CHANNELS, "alerts.user-", "market-data.", "predictions."]),
    st.text(st.sampled_from(string.printable), max_size=40),
)
def test_what_looks_like_a_group_is_no_stream_or_the_one_of_that_name(
    start: str, rest: str
) -> None:
    stream = Stream.from_group(f"{start}{rest}")
    assert stream is None or stream.group == f"{start}{rest}"


@given(symbols)
def test_a_symbol_is_itself_in_any_case(symbol: str) -> None:
    assert parse_symbol(symbol) == symbol
    assert parse_symbol(symbol.lower()) == symbol
    assert parse_symbol(symbol.swapcase()) == symbol


@given(st.text(max_size=40))
def test_a_text_is_a_symbol_or_refused_with_a_reason(text: str) -> None:
    try:
        symbol = parse_symbol(text)
    except InvalidSymbol as exc:
        assert str(exc).startswith("symbol")  # noqa: PT017
    else:
        assert symbol[0] in FIRST
        assert set(symbol) <= set(REST)
        assert 1 <= len(symbol) <= 32
        assert parse_symbol(symbol) == symbol


@pytest.mark.parametrize(
    "symbol", ["AAPL", "BRK.B", "BTC-USD", "BTC/USD", "EURUSD=X", "^GSPC", "7203", "A" * 32, "M:_"]
)
def test_the_symbols_of_real_markets_are_symbols(symbol: str) -> None:
    assert parse_symbol(symbol) == symbol


@pytest.mark.parametrize(
    "text",
    [
        ".A", "-A", "_A", "=A", ":A", "/A", "A B", " AAPL", "AAPL ", "AAPL\n", "A*", "*", "A,B",
        "A%2FB", "\u00c4", "\u0131", "\u017f", "\u212a",
        "A\x00", "A\u200b", "\uff21", "A" * 33, "A'B", 'A"',
    ],
)  # fmt: skip
def test_what_is_no_symbol_is_refused(text: str) -> None:
    with pytest.raises(InvalidSymbol):
        parse_symbol(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("A" * 33, "32"),
        ("A B", "letter, digit or ^"),
        (7, "string, not int"),
        (None, "string, not NoneType"),
        (["AAPL"], "string, not list"),
        (b"AAPL", "string, not bytes"),
    ],
)
def test_a_refusal_says_why(text: object, reason: str) -> None:
    with pytest.raises(InvalidSymbol) as refusal:
        parse_symbol(text)
    assert reason in str(refusal.value)
    assert refusal.value.symbol is text


def test_a_stream_is_compared_by_what_it_carries() -> None:
    assert symbol_stream("market-data", "aapl") == symbol_stream("market-data", "AAPL")
    assert symbol_stream("market-data", "AAPL") != symbol_stream("predictions", "AAPL")
    assert user_alerts(1) != user_alerts(11)
    assert symbol_stream("predictions", "*").wildcard
    assert not symbol_stream("predictions", "AAPL").wildcard


def test_the_streams_of_alerts_are_named_all_and_user() -> None:
    assert ALERTS_ALL.symbol == "all"
    assert user_alerts(7).symbol == "user"
