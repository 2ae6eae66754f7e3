import pytest

from realtime.feeds.sale_conditions import is_market_price, is_price


@pytest.mark.parametrize("code", list("CGHMNPQRUVWZ347"))
@pytest.mark.parametrize("tape", ["A", "B", "C", None])
def test_what_is_no_price_of_this_moment_is_none_on_any_tape(code: str, tape: str | None) -> None:
    assert not is_price(["@", code, "I"], tape)


@pytest.mark.parametrize("conditions", [None, [], ["@"], [" "], list("@IT"), ["F"], ["O"], ["6"]])
def test_regular_trades_odd_lots_and_those_outside_of_the_session_are_prices(
    conditions: list[str] | None,
) -> None:
    assert is_price(conditions, "C")


def test_b_is_an_average_on_two_tapes_and_a_bunched_trade_on_the_third() -> None:
    assert [is_price(["B"], tape) for tape in "ABC"] == [False, False, True]


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        ("binanceusdm", {"X": "INSURANCE_FUND"}), ("binance", {"X": "ADL"}),
        ("binancecoinm", {"X": "NA"}), ("bitmex", {"trdType": "Referential"}),
        ("bybit", {"BT": True}), ("bybit", {"isBlockTrade": "true"}),
        ("deribit", {"block_trade_id": "154"}),
    ],
)  # fmt: skip
def test_what_was_not_traded_in_an_order_book_is_no_price(exchange: str, message: object) -> None:
    assert not is_market_price(exchange, message)


@pytest.mark.parametrize(
    ("exchange", "message"),
    [
        ("binanceusdm", {"X": "MARKET"}), ("binance", {"M": True}), ("kraken", {"X": "ADL"}),
        ("bybit", {"BT": False}), ("deribit", {"block_trade_id": None}), ("okx", None),
        ("bitmex", {"trdType": "Regular"}), ("binance", ["X", "ADL"]), ("binance", {"X": []}),
    ],
)  # fmt: skip
def test_what_was_traded_in_an_order_book_is_a_price(exchange: str, message: object) -> None:
    assert is_market_price(exchange, message)
