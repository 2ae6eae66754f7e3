"""What a type of condition needs beside its class: all of it, or it would be accepted in vain."""

import json
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest

from realtime import protocol
from realtime.alerts.conditions import Condition, Leaf
from realtime.alerts.evaluator import SymbolMachine, TimedUpdate
from realtime.alerts.firing import CHANNEL_OF, alert_data
from realtime.alerts.messages import NUMBER_FIELDS
from realtime.alerts.rule_state import Rule
from realtime.alerts.rules import Definition, parse_rule
from realtime.alerts.trial import Trial
from realtime.streams import Channel
from tests.alerts.oracle import Oracle
from tests.alerts.strategies import BEGIN, BY_TYPE
from tests.documents import names, rows

KINDS = {str(kind.__struct_config__.tag): kind for kind in get_args(Leaf)}
Update = tuple[Channel, dict[str, Any]]


def price(value: float) -> Update:
    return "market-data", {"price": value}


def prediction(**data: float) -> Update:
    return "predictions", data


# Of each type a condition, the updates of which only the last one makes it true (a second lies
# between two), and what a message says of it.
EXAMPLES: dict[str, tuple[dict[str, Any], list[Update], str]] = {
    "above": ({"value": 100}, [price(100), price(101)], "price above 100"),
    "below": ({"value": 100}, [price(100), price(99)], "price below 100"),
    "crosses_above": ({"value": 100}, [price(100), price(101)], "price crosses above 100"),
    "crosses_below": ({"value": 100}, [price(100), price(99)], "price crosses below 100"),
    "percent_move": (
        {"value": 2, "window": 60}, [price(100), price(101), price(102)],
        "price moved 2 % within 60 s",
    ),
    "volume_above": (
        {"value": 500}, [("market-data", {"volume": 500}), ("market-data", {"volume": 501})],
        "volume above 500",
    ),
    "confidence_above": (
        {"value": 0.5}, [prediction(confidence=0.5), prediction(confidence=0.6)],
        "confidence above 0.5",
    ),
    "confidence_below": (
        {"value": 0.5}, [prediction(confidence=0.5), prediction(confidence=0.4)],
        "confidence below 0.5",
    ),
    "predicted_return_above": (
        {"value": 1},
        [price(100), prediction(predicted_price=101), prediction(predicted_price=102)],
        "predicted return above 1",
    ),
    "predicted_return_below": (
        {"value": 1},
        [price(100), prediction(predicted_price=101), prediction(predicted_price=100)],
        "predicted return below 1",
    ),
    "direction_flip": (
        {}, [price(100), prediction(predicted_price=101), prediction(predicted_price=99)],
        "predicted direction flips",
    ),
    "stale": ({"seconds": 1}, [price(100), prediction(confidence=0.5)],
              "no market-data for 1 s"),
}  # fmt: skip


def rule_of(kind: str) -> dict[str, Any]:
    return {"symbols": ["AAPL"], "conditions": [{"type": kind, **EXAMPLES[kind][0]}]}


def updates_of(kind: str) -> list[tuple[Channel, int, dict[str, Any]]]:
    updates = enumerate(EXAMPLES[kind][1])
    return [(channel, BEGIN + place * 1000, data) for place, (channel, data) in updates]


def test_every_condition_is_one_that_a_rule_may_have() -> None:
    def below(kind: type) -> set[type]:
        return {kind, *(each for child in kind.__subclasses__() for each in below(child))}

    tagged = {kind for kind in below(Condition) if kind.__struct_config__.tag != kind.__name__}
    assert tagged == set(KINDS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_condition_fires_as_the_oracle_says(kind: str) -> None:
    machine = SymbolMachine("AAPL")
    machine.put(Rule(1, 1, None, parse_rule(rule_of(kind))))
    oracle = Oracle({1: rule_of(kind)})
    for channel, at, data in updates_of(kind):
        fired = machine.update(TimedUpdate(channel, at, data))
        assert len(fired) == len(oracle.update("AAPL", channel, at, data))
        assert len(fired) == (at == updates_of(kind)[-1][1])
    data = alert_data(fired[0])
    assert data["condition"] == EXAMPLES[kind][2]
    assert data["message"] == f"AAPL: {EXAMPLES[kind][2]}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_condition_fires_in_a_dry_run(kind: str) -> None:
    trial = Trial(rule_of(kind))
    trial.symbol("AAPL")
    for channel, at, data in updates_of(kind):
        time = protocol.timestamp(datetime.fromtimestamp(at / 1000, UTC))
        trial.updates(channel, [json.dumps({"timestamp": time, "data": data}).encode()[:-1]])
    assert trial.report()["fired"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_condition_has_a_short_form(kind: str) -> None:
    short = {"symbol": "AAPL", "condition": kind, **EXAMPLES[kind][0]}
    assert parse_rule(short) == parse_rule(rule_of(kind))


def test_random_rules_have_every_condition() -> None:
    assert BY_TYPE.keys() == KINDS.keys()


def test_the_reference_lists_every_condition_with_its_fields() -> None:
    listed = {
        kind: set(names(cells[1])) for cells in rows("Conditions") for kind in names(cells[0])
    }
    fields = {kind: set(struct.__struct_fields__) for kind, struct in KINDS.items()}
    assert listed == {**fields, "all": {"conditions"}, "any": {"conditions"}}


def test_the_reference_lists_every_field_of_a_rule() -> None:
    listed = {name for cells in rows("Fields of a rule") for name in names(cells[0])}
    assert listed == {field.encode_name for field in msgspec.structs.fields(Definition)}


def test_every_number_of_a_message_is_of_a_channel() -> None:
    assert CHANNEL_OF.keys() == set(NUMBER_FIELDS) - {"value"}
