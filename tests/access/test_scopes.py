from contextlib import suppress
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.scopes import (
    InvalidScope,
    matches,
    parse_pattern,
    parse_scopes,
    parse_symbols,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_scopes_come_in_their_usual_order_and_once() -> None:
    assert parse_scopes(["publish", "alerts", "publish"]) == ["alerts", "publish"]


@pytest.mark.parametrize("scopes", ["publish", 7, None, [], ["predictions", "admin"], [["alerts"]]])
def test_scopes_that_cannot_be_are_refused(scopes: object) -> None:
    with pytest.raises(InvalidScope):
        parse_scopes(scopes)


def test_symbols_are_upper_cased_and_empty_lists_mean_every_symbol() -> None:
    assert parse_symbols({"market-data": ["btc*", "BTC*"], "predictions": []}) == {
        "market-data": ["BTC*"]
    }


@pytest.mark.parametrize(
    "symbols",
    [
        [],
        {"alerts": ["AAPL"]},
        {"admin": ["AAPL"]},
        {"publish": "AAPL"},
        {"publish": ["A[A]PL"]},
        {"publish": ["A?"]},
        {"publish": [""]},
        {"publish": [7]},
        {"publish": ["A" * 33]},
        {"publish": ["A"] * 101},
    ],
)
def test_symbols_that_cannot_be_are_refused(symbols: object) -> None:
    with pytest.raises(InvalidScope):
        parse_symbols(symbols)


@pytest.mark.parametrize(
    ("pattern", "symbol", "expected"),
    [
        ("BTC*", "BTC-USD", True),
        ("BTC*", "BTC", True),
        ("BTC*", "ETH-BTC", False),
        ("*USD", "BTC/USD", True),
        ("AAPL", "AAPL", True),
        ("AAPL", "AAPLX", False),
        ("BRK.B", "BRKXB", False),
        ("^G*", "^GSPC", True),
        ("*", "*", True),
        ("BTC*", "*", False),
        ("**", "*", True),
        ("A*B*C", "AxBBxC", True),
        ("A*B*C", "AC", False),
        ("A*A", "A", False),
        ("*AA*AA*", "AAA", False),
        ("*AA*AA*", "AAAA", True),
    ],
)
def test_a_pattern_matches_whole_symbols(pattern: str, symbol: str, expected: bool) -> None:
    assert matches([parse_pattern(pattern)], symbol) is expected


def test_stars_in_a_row_are_one() -> None:
    assert parse_pattern("btc***-**") == "BTC*-*"


@given(st.text("AB*", max_size=12), st.text("AB*", max_size=12))
def test_patterns_match_as_those_of_file_names_do(pattern: str, symbol: str) -> None:
    assert matches([pattern], symbol) is fnmatchcase(symbol, pattern)


def test_no_pattern_matches_nothing() -> None:
    assert not matches([], "AAPL")


def test_many_stars_do_not_take_long() -> None:
    assert not matches(["*A" * 16], "A" * 15 + "B" * 17)


@given(JSON)
def test_any_json_is_parsed_or_refused(value: object) -> None:
    for parse in (parse_scopes, parse_pattern, parse_symbols):
        with suppress(InvalidScope):
            parse(value)
