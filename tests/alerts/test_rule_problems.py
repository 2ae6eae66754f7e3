"""Everything that is wrong with a rule is said at once."""

from typing import Any

import pytest

from realtime.alerts.rule_problems import problems_of

ABOVE = {"type": "above", "value": 150}


def test_a_valid_rule_has_none() -> None:
    assert problems_of({"symbol": "AAPL", "condition": "above", "value": 150}) == {}


def test_each_field_and_each_condition_is_named() -> None:
    rule = {
        "symbols": ["A A"],
        "conditions": [{"type": "above"}, ABOVE, {"type": "abvoe"}, {"any": [{"type": "below"}]}],
        "cooldown": "soon", "severity": "loud", "message": "{colour}", "colour": "red",
        "escalate_to": "x", "escalate_after": 60, "expires_at": "2030-01-31T12:00:00",
    }  # fmt: skip
    assert sorted(problems_of(rule)) == [
        "colour", "conditions[0].value", "conditions[2].type", "conditions[3].conditions[0].value",
        "cooldown", "escalate_to", "expires_at", "message", "severity", "symbols[0]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ({}, ["conditions", "symbols"]),
        ({"symbols": 7, "conditions": 7}, ["conditions", "symbols"]),
        (
            {"symbol": "A A", "condition": "above", "value": "x"},
            ["conditions[0].value", "symbols[0]"],
        ),
        ({"symbols": ["A"], "conditions": [ABOVE], "escalate_to": 3}, ["escalate_after"]),
        ([], [""]),
        (None, [""]),
        ("x", [""]),
    ],
)
def test_what_is_missing_is_named(rule: Any, fields: list[str]) -> None:
    assert sorted(problems_of(rule)) == fields


def test_a_rule_of_many_faults_comes_to_an_end() -> None:
    rule = {"symbols": ["A"], "conditions": [ABOVE], **{f"x{'y' * n}": n for n in range(100)}}
    assert len(problems_of(rule)) == 20


def test_what_is_given_stays_as_it_is() -> None:
    rule = {"symbols": 7, "conditions": [{"type": "above"}]}
    problems_of(rule)
    assert rule == {"symbols": 7, "conditions": [{"type": "above"}]}
