"""The state machine of a symbol's rules, compared with the oracle and by example."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.alerts.evaluator import Fired, SymbolMachine, TimedUpdate
from realtime.alerts.rule_state import Rule
from realtime.alerts.rules import parse_rule
from tests.alerts.oracle import Firing, Oracle
from tests.alerts.strategies import BEGIN, life, rules, updates

ABOVE = {"type": "above", "value": 150}


def machine(*raw: dict[str, Any]) -> SymbolMachine:
    symbol = SymbolMachine("AAPL")
    for id, each in enumerate(raw):
        symbol.put(Rule(id, 1, None, parse_rule({"symbols": ["AAPL"], **each})))
    return symbol


def prices(symbol: SymbolMachine, *values: float, every: int = 1000) -> list[int]:
    """The places of the prices at which something fires, one every second."""
    begin = symbol.now + every if symbol.now else BEGIN
    return [
        place
        for place, price in enumerate(values)
        for _ in symbol.update(TimedUpdate("market-data", begin + place * every, {"price": price}))
    ]


def firing(fired: Fired) -> Firing:
    return fired.rule.id, fired.symbol, fired.at, fired.timed


def reloaded(symbol: SymbolMachine, saved: dict[int, Any], raw: list[Rule]) -> SymbolMachine:
    """The machine that an engine makes from what was stored."""
    for id, state in symbol.dirty.items():
        saved[id] = json.loads(json.dumps(state.as_data()))
    again = SymbolMachine("AAPL", json.loads(json.dumps(symbol.as_data())))
    for rule in raw:
        again.put(rule, saved.get(rule.id))
    return again


@settings(max_examples=400)
@given(st.lists(rules(), min_size=1, max_size=6), updates, st.sets(st.integers(0, 40)))
def test_the_machine_fires_as_the_oracle_says_also_across_restarts(
    raw: list[dict[str, Any]], drawn: Any, restarts: set[int]
) -> None:
    parsed = [Rule(id, 1, None, parse_rule(rule)) for id, rule in enumerate(raw)]
    oracle = Oracle(dict(enumerate(copy.deepcopy(raw))))
    symbol = SymbolMachine("AAPL")
    for rule in parsed:
        symbol.put(rule)
    saved: dict[int, Any] = {}
    moments = life(drawn)
    for place, (channel, at, data) in enumerate(moments):
        if place in restarts:
            symbol = reloaded(symbol, saved, parsed)
        expected = oracle.update("AAPL", channel, at, data)
        actual = [firing(fired) for fired in symbol.update(TimedUpdate(channel, at, data))]
        assert sorted(actual) == sorted(expected), (place, moments[: place + 1])
    end = max(at for _, at, _ in moments) + 400_000
    expected = oracle.pass_until(end)
    assert sorted(map(firing, symbol.advance(end))) == sorted(expected)


def test_above_fires_when_it_becomes_true_and_again_after_it_was_false() -> None:
    assert prices(machine({"conditions": [ABOVE]}), 151, 152, 150, 150, 151) == [0, 4]


def test_crosses_above_needs_a_price_at_or_below_first() -> None:
    rule = {"conditions": [{"type": "crosses_above", "value": 150}]}
    assert prices(machine(rule), 151, 150, 151, 152, 149, 150.5) == [2, 5]


def test_crosses_below_fires_on_the_way_down_only() -> None:
    rule = {"conditions": [{"type": "crosses_below", "value": 150}]}
    assert prices(machine(rule), 149, 151, 149, 148) == [2]


def test_a_rule_with_hysteresis_fires_again_only_after_its_rearm_level() -> None:
    rule = {"conditions": [{**ABOVE, "rearm": 148}]}
    assert prices(machine(rule), 151, 149, 151, 148, 151) == [0, 4]


def test_a_crossing_with_hysteresis_counts_again_only_after_its_rearm_level() -> None:
    rule = {"conditions": [{"type": "crosses_above", "value": 150, "rearm": 148}]}
    assert prices(machine(rule), 149, 151, 149, 151, 147, 151) == [1, 5]


def test_a_cooldown_passes_over_what_comes_too_soon() -> None:
    rule = {"conditions": [ABOVE], "cooldown": 3}
    assert prices(machine(rule), 151, 150, 151, 150, 151) == [0, 4]


def test_a_rule_that_fires_once_fires_once() -> None:
    assert prices(machine({"conditions": [ABOVE], "once": True}), 151, 149, 151) == [0]


def test_a_condition_must_hold_as_long_as_for_says() -> None:
    symbol = machine({"conditions": [ABOVE], "for": 2.5})
    assert prices(symbol, 151, 152, 149, 151, 151, 151, 151) == [6]


def test_for_fires_at_its_time_without_another_update() -> None:
    symbol = machine({"conditions": [ABOVE], "for": 10})
    assert prices(symbol, 151) == []
    assert symbol.due == BEGIN + 10_000
    assert symbol.advance(BEGIN + 9_999) == []
    fired = symbol.advance(BEGIN + 60_000)
    assert [(each.at, each.timed) for each in fired] == [(BEGIN + 10_000, True)]


def test_a_percent_move_looks_back_over_its_window_and_no_further() -> None:
    rule = {"conditions": [{"type": "percent_move", "value": 5, "window": 60, "direction": "up"}]}
    assert prices(machine(rule), 100, 105, every=30_000) == [1]
    assert prices(machine(rule), 100, 102, 105, every=62_000) == []


def test_the_way_back_from_a_trade_that_is_taken_back_is_no_move() -> None:
    move = {"type": "percent_move", "value": 5, "window": 60, "direction": "up"}
    symbol = machine({"conditions": [move]}, {"conditions": [{"type": "volume_above", "value": 0}]})
    assert prices(symbol, 150, 15) == []
    data = {"price": 150, "volume": 0, "corrects": {"trade_id": "D2"}}
    assert symbol.update(TimedUpdate("market-data", symbol.now + 1000, data)) == []
    assert prices(symbol, 151, 160) == [1]


def test_a_stream_is_stale_once_and_again_after_it_was_fresh() -> None:
    symbol = machine({"conditions": [{"type": "stale", "seconds": 5}]})
    prices(symbol, 1, 2)
    assert [fired.at for fired in symbol.advance(BEGIN + 60_000)] == [BEGIN + 6_000]
    prices(symbol, 3)
    assert len(symbol.advance(BEGIN + 600_000)) == 1


def test_a_direction_flip_is_told_each_time() -> None:
    symbol = machine({"conditions": [{"type": "direction_flip"}]})
    fired = [
        bool(
            symbol.update(
                TimedUpdate("predictions", BEGIN, {"predicted_price": p, "last_price": 100})
            )
        )
        for p in (101, 102, 99, 101, 100, 102)
    ]
    assert fired == [False, False, True, True, False, False]


def test_an_event_and_a_state_must_meet_in_one_update() -> None:
    crossing = {"type": "crosses_above", "value": 150}
    symbol = machine({"conditions": [crossing, {"type": "volume_above", "value": 10}]})
    fired = [
        bool(symbol.update(TimedUpdate("market-data", BEGIN, {"price": price, "volume": volume})))
        for price, volume in ((149, 5), (151, 5), (152, 20), (149, 20), (151, 20))
    ]
    assert fired == [False, False, False, False, True]


def test_any_is_enough_with_one() -> None:
    symbol = machine({"match": "any", "conditions": [ABOVE, {"type": "below", "value": 100}]})
    assert prices(symbol, 120, 99, 120, 151) == [1, 3]


def test_a_rule_outside_its_hours_fires_when_they_begin() -> None:
    hours = {"start": "00:10", "end": "00:20"}
    symbol = machine({"conditions": [ABOVE], "active_hours": hours})
    assert prices(symbol, 151) == []
    assert [fired.at for fired in symbol.advance(BEGIN + 3_600_000)] == [BEGIN + 600_000]


def test_an_expired_rule_is_quiet() -> None:
    symbol = machine({"conditions": [ABOVE], "expires_at": "2024-03-01T00:00:01Z"})
    assert prices(symbol, 149, 151) == []


@pytest.mark.parametrize("price", ["151", None, True, [151], 10**400])
def test_a_price_that_is_no_number_is_passed_over(price: Any) -> None:
    symbol = machine({"conditions": [ABOVE]})
    assert symbol.update(TimedUpdate("market-data", BEGIN, {"price": price})) == []


def test_a_rule_that_was_dropped_is_quiet() -> None:
    symbol = machine({"conditions": [ABOVE]}, {"conditions": [{"type": "above", "value": 160}]})
    symbol.drop(0)
    assert [
        fired.rule.id for fired in symbol.update(TimedUpdate("market-data", BEGIN, {"price": 170}))
    ] == [1]


def test_numbers_of_the_moment_come_with_what_fires() -> None:
    symbol = machine({"conditions": [ABOVE]})
    symbol.update(TimedUpdate("predictions", BEGIN, {"predicted_price": 160, "confidence": 0.9}))
    [fired] = symbol.update(TimedUpdate("market-data", BEGIN, {"price": 151, "volume": 7}))
    assert fired.numbers == {
        "price": 151.0, "volume": 7.0, "confidence": 0.9, "predicted_price": 160.0,
    }  # fmt: skip
