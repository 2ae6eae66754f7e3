"""What is a rule, and what is refused with which field."""

import subprocess
import sys
from typing import Any

import pytest

from realtime.alerts.messages import InvalidTemplate, check_template, render
from realtime.alerts.rules import InvalidRule, parse_rule
from realtime.hours import ActiveHours
from tests.alerts.strategies import BEGIN
from tests.processes import ROOT

ABOVE = {"type": "above", "value": 150}
MOVE = {"type": "percent_move", "value": 5, "window": 60}
HOURS = {"start": "09:30", "end": "16:00"}
INNER = "conditions[0].conditions[0].conditions[0]"


def rule(**fields: Any) -> dict[str, Any]:
    return {"symbols": ["AAPL"], "conditions": [ABOVE], **fields}


def nested(depth: int) -> dict[str, Any]:
    node: dict[str, Any] = ABOVE
    for _ in range(depth):
        node = {"any": [node]}
    return node


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ([], ""),
        ({"conditions": [ABOVE]}, "symbols"),
        (rule(symbols=[]), "symbols"),
        (rule(symbols=["AAPL", "no symbol"]), "symbols[1]"),
        (rule(symbols=["A"] * 201), "symbols"),
        (rule(name="a\x00"), "name"),
        (rule(name="\ud800"), "name"),
        (rule(message="\ud800"), "message"),
        (rule(conditions=[]), "conditions"),
        (rule(conditions="above"), "conditions"),
        (rule(conditions=[{"value": 1}]), "conditions[0].type"),
        (rule(conditions=[{"type": "abvoe", "value": 1}]), "conditions[0].type"),
        (rule(conditions=[{"type": "above"}]), "conditions[0].value"),
        (rule(conditions=[{"type": "above", "value": "150"}]), "conditions[0].value"),
        (rule(conditions=[{"type": "above", "value": float("nan")}]), "conditions[0].value"),
        (rule(conditions=[{"type": "above", "value": 1, "volume": 2}]), "conditions[0].volume"),
        (rule(conditions=[{**ABOVE, "rearm": 151}]), "conditions[0].rearm"),
        (rule(conditions=[{"any": [{"type": "below"}]}]), "conditions[0].conditions[0].value"),
        (rule(conditions=[{**MOVE, "window": 0}]), "conditions[0].window"),
        (rule(conditions=[{**MOVE, "value": 0}]), "conditions[0].value"),
        (rule(conditions=[{"type": "confidence_above", "value": 85}]), "conditions[0].value"),
        (rule(conditions=[{"type": "stale", "seconds": 0}]), "conditions[0].seconds"),
        (rule(conditions=[nested(3)]), INNER),
        (rule(conditions=[nested(4000)]), f"{INNER}.{INNER}.type"),
        (rule(conditions=[ABOVE] * 21), "conditions"),
        (rule(match="some"), "match"),
        (rule(severity="loud"), "severity"),
        (rule(message="{symbol.__class__}"), "message"),
        (rule(**{"for": -1}), "for"),
        (rule(**{"for": 1}, conditions=[{"type": "direction_flip"}]), "for"),
        (rule(cooldown="1h"), "cooldown"),
        (rule(once="yes"), "once"),
        (rule(active_hours={**HOURS, "start": "9:30"}), "active_hours.start"),
        (rule(active_hours={**HOURS, "timezone": "Mars"}), "active_hours.timezone"),
        (rule(active_hours={**HOURS, "days": ["monday"]}), "active_hours.days"),
        (rule(expires_at="tomorrow"), "expires_at"),
        (rule(expires_at="2030-01-01T00:00:00"), "expires_at"),
        (rule(name="x" * 101), "name"),
        (rule(colour="red"), "colour"),
        (rule(escalate_after=60), "escalate_to"),
        (rule(rearm=1, conditions=[ABOVE, ABOVE]), "rearm"),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_with_its_field(raw: Any, field: str) -> None:
    with pytest.raises(InvalidRule) as refused:
        parse_rule(raw)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("raw", "choice"),
    [
        (rule(severity="urgent"), "critical"),
        (rule(match="some"), "all, any"),
        (rule(conditions=[{"type": "sideways"}]), "crosses_above"),
        (rule(conditions=[{**MOVE, "direction": "left"}]), "up, down, any"),
        (rule(conditions=[{"type": "stale", "seconds": 9, "channel": "alerts"}]), "market-data"),
    ],
)
def test_a_wrong_choice_is_refused_with_the_choices(raw: Any, choice: str) -> None:
    with pytest.raises(InvalidRule, match=f"must be one of .*{choice}"):
        parse_rule(raw)


@pytest.mark.parametrize(
    "raw",
    [
        rule(),
        rule(symbols="*", severity="critical", cooldown=60, once=True, paused=True, name="x"),
        rule(conditions=[{"any": [ABOVE, {"type": "stale", "seconds": 30}]}], **{"for": 5}),
        rule(active_hours={"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin"}),
        rule(expires_at="2030-01-01T00:00:00+02:00", message="{price:,.2f} {{}}"),
    ],
)
def test_a_definition_reads_back_as_it_was_written(raw: dict[str, Any]) -> None:
    parsed = parse_rule(raw)
    assert parse_rule(parsed.as_data()) == parsed


def test_a_rule_can_be_said_in_short() -> None:
    short = {"symbol": "aapl", "condition": "above", "threshold": 150, "rearm": 148}
    assert parse_rule(short) == parse_rule(
        {"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150, "rearm": 148}]}
    )


def test_a_rule_without_a_name_is_called_after_what_it_says() -> None:
    assert parse_rule(rule()).name == "AAPL price above 150"


def test_one_of_the_symbols_may_be_every_symbol() -> None:
    assert parse_rule(rule(symbols=["AAPL", "*"])).symbols == ["*"]


@pytest.mark.parametrize(
    "template",
    ["{price!r}", "{0}", "{}", "{price:>10}", "{price:1000000}", "{symbol:.3f}", "{", "}",
     "{price.real}", "{symbol[0]}", "{price:{volume}}", "x" * 501],
)  # fmt: skip
def test_a_template_may_name_fields_and_nothing_else(template: str) -> None:
    with pytest.raises(InvalidTemplate):
        check_template(template)


def test_a_message_has_its_fields_and_says_what_is_not_known() -> None:
    template = "{symbol} at {price:.2f}, {volume:,.0f} traded, {confidence:.0%} {{sure}}"
    check_template(template)
    fields: dict[str, Any] = {"symbol": "AAPL", "price": 151.256, "volume": 1234567.0}
    assert render(template, fields) == "AAPL at 151.26, 1,234,567 traded, n/a {sure}"


def test_active_hours_follow_the_clock_of_their_zone() -> None:
    hours = ActiveHours(start="09:30", end="16:00", timezone="America/New_York", days=("fri",))
    open_at = BEGIN + (14 * 60 + 30) * 60_000
    assert [hours.contain(open_at + offset) for offset in (-1, 0, 23_399_999, 23_400_000)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert hours.next_change(BEGIN) == open_at


def test_active_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    hours = ActiveHours(start="23:00", end="01:00", days=("thu",))
    assert [hours.contain(BEGIN + minute * 60_000) for minute in (0, 59, 60, 23 * 60)] == [
        True, True, False, False,
    ]  # fmt: skip


FIRST_RULES = """
import sys, threading
from realtime.alerts.rules import parse_rule
sys.setswitchinterval(1e-6)
together = threading.Barrier(12)
def parse():
    together.wait()
    parse_rule({"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}]})
threads = [threading.Thread(target=parse) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_the_first_rules_of_a_process_may_come_together() -> None:
    for _ in range(15):  # each is a crash of the process in one of five tries
        result = subprocess.run([sys.executable, "-c", FIRST_RULES], cwd=ROOT, check=False)
        assert result.returncode == 0
