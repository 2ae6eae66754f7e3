"""What an alert of a rule that is not made yet would say."""

from typing import Any

import pytest

from realtime.broadcast import broadcast_market_data, broadcast_prediction_update
from realtime.models import AlertRule
from tests import personas
from tests.alerts.test_conditions import EXAMPLES
from tests.api.test_alerts import Api

pytestmark = pytest.mark.django_db(transaction=True)
ABOVE = {"type": "above", "value": 150}
RULE = {"symbols": ["AAPL", "MSFT"], "conditions": [ABOVE]}


@pytest.fixture
def ask(transactional_db: None) -> Any:
    alice = Api(personas.token(personas.alice()))
    return lambda **fields: alice("POST", "/api/v1/alert-rules/preview", {**RULE, **fields})


def test_a_message_is_filled_in_with_the_newest_numbers(each_layer: str, ask: Any) -> None:
    for price in (149, 151.5):
        broadcast_market_data("AAPL", {"price": price, "volume": 7})
    answer = ask(message="{symbol} {price:.2f} beyond {value}, {volume:,.0f}, {move}", once=True)
    assert answer.json() == {
        "name": "AAPL, MSFT price above 150",
        "symbol": "AAPL",
        "condition": "price above 150",
        "message": "AAPL 151.50 beyond 150, 7, n/a",
        "numbers": {"value": 150, "price": 151.5, "volume": 7},
    }
    assert not AlertRule.objects.exists()


def test_a_preview_contains_only_numbers_of_channels_that_the_rule_reads(ask: Any) -> None:
    broadcast_market_data("AAPL", {"price": 149})
    broadcast_prediction_update("AAPL", {"predicted_price": 155, "confidence": 0.9})
    answer = ask(conditions=[{"type": "confidence_above", "value": 0.5}])
    assert answer.json()["numbers"] == {"value": 0.5, "predicted_price": 155, "confidence": 0.9}


def test_a_symbol_without_updates_is_previewed_without_numbers(each_layer: str, ask: Any) -> None:
    assert ask(symbols=["NEVER"], message="{price}").json()["message"] == "n/a"


@pytest.mark.parametrize("symbols", [["AAPL", "MSFT"], ["*"]])
def test_the_symbol_of_a_preview_can_be_chosen(ask: Any, symbols: list[str]) -> None:
    broadcast_market_data("MSFT", {"price": 30})
    assert ask(symbols=symbols, for_symbol="msft").json()["numbers"]["price"] == 30


@pytest.mark.parametrize("for_symbol", ["IBM", "a b", 7, []])
def test_a_symbol_that_the_rule_does_not_have_is_refused(ask: Any, for_symbol: Any) -> None:
    answer = ask(for_symbol=for_symbol)
    assert (answer.status_code, list(answer.json())) == (400, ["for_symbol"])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"message": "{colour}"}, "message"),
        ({"conditions": [{"type": "above"}]}, "conditions[0].value"),
        ({"severity": "bogus"}, "severity"),
        (
            {"conditions": [{"type": "all", "conditions": [ABOVE, 7]}]},
            "conditions[0].conditions[1]",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_is_named(ask: Any, fields: Any, field: str) -> None:
    answer = ask(**fields)
    assert (answer.status_code, list(answer.json())) == (400, [field])


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_kind_of_condition_can_be_previewed(ask: Any, kind: str) -> None:
    fields, _, text = EXAMPLES[kind]
    broadcast_market_data("AAPL", {"price": 101, "volume": 501})
    broadcast_prediction_update("AAPL", {"predicted_price": 155, "confidence": 0.9})
    assert ask(conditions=[{"type": kind, **fields}]).json()["message"] == f"AAPL: {text}"


def test_previews_are_as_frequent_as_messages_of_a_socket(ask: Any, settings: Any) -> None:
    settings.REALTIME_MESSAGES_PER_SECOND = 0.1
    settings.REALTIME_MESSAGES_BURST = 1
    assert [ask().status_code for _ in range(2)] == [200, 429]
