"""A rule's definition: JSON from the admin, REST or a socket, checked. Pure.

    parse_rule({"symbols": ["AAPL"], "conditions": [{"type": "above", "value": 150}]})

raises InvalidRule with the field named: `conditions[0].value: Expected float, got str`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from realtime.alerts.conditions import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_SECONDS,
    AllOf,
    AnyOf,
    DirectionFlip,
    Leaf,
    Node,
    describe,
)
from realtime.alerts.messages import InvalidTemplate, check_template
from realtime.hours import ActiveHours
from realtime.shapes import choices_of, explain
from realtime.streams import WILDCARD, Channel, InvalidSymbol, parse_symbol

MAX_SYMBOLS: Final = 200
MAX_NAME: Final = 100
MAX_DESTINATIONS: Final = 20
DEFAULT_MESSAGE: Final = "{symbol}: {condition}"

# The values that `type` of a condition may have.
TYPES: Final = tuple(str(kind.__struct_config__.tag) for kind in get_args(Node))
Severity = Literal["low", "medium", "high", "critical"]
RowId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Pause = Annotated[float, Meta(ge=0, le=MAX_SECONDS)]


class InvalidRule(ValueError):
    """Raised for a definition that is not a valid rule. `field` is its path, "" for the whole."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class Definition(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A checked rule. Times in seconds; docs/reference/alert-rules.md explains each field."""

    symbols: list[str]
    conditions: list[Node]
    name: str = ""
    match: Literal["all", "any"] = "all"
    severity: Severity = "medium"
    message: str = DEFAULT_MESSAGE
    hold: Pause = msgspec.field(name="for", default=0.0)
    cooldown: Pause = 0.0
    once: bool = False
    active_hours: ActiveHours | None = None
    expires_at: datetime | None = None
    paused: bool = False
    # The id of the owner's webhook endpoint that receives an alert not acknowledged in time.
    escalate_to: int | None = None
    escalate_after: Annotated[float, Meta(ge=1, le=MAX_SECONDS)] | None = None
    # The ids of the owner's destinations that its alerts are sent to.
    destinations: Annotated[list[RowId], Meta(max_length=MAX_DESTINATIONS)] = []

    @property
    def every_symbol(self) -> bool:
        return WILDCARD in self.symbols

    @property
    def root(self) -> AllOf | AnyOf:
        """All conditions combined into one node."""
        return (AllOf if self.match == "all" else AnyOf)(conditions=self.conditions)

    @property
    def channels(self) -> set[Channel]:
        """The channels whose updates this rule reads."""
        return {leaf.metric.channel for leaf in leaves(self.root)}

    def as_data(self) -> dict[str, object]:
        """As JSON, without fields that have their defaults; `parse_rule` is the inverse."""
        data: dict[str, object] = msgspec.to_builtins(self)
        return data


# msgspec analyses a type when it is first used, and crashes if two threads do so concurrently.
_LEARNED: Final = msgspec.json.Decoder(Definition)


def leaves(node: Node) -> list[Leaf]:
    """The conditions without `all` and `any`, in the order in which they are written."""
    if isinstance(node, AllOf | AnyOf):
        return [leaf for each in node.conditions for leaf in leaves(each)]
    return [node]


def parse_rule(raw: object) -> Definition:
    """A definition from JSON values; raises InvalidRule."""
    if not isinstance(raw, Mapping):
        raise InvalidRule("", "a rule is a JSON object")
    try:
        shorthand = _written_out(raw)
        rule = msgspec.convert(shorthand, Definition)
    except msgspec.ValidationError as exc:
        raise InvalidRule(*explain(str(exc), _CHOICES)) from None
    except RecursionError:
        raise InvalidRule("conditions", f"is nested more than {MAX_DEPTH} deep") from None
    except UnicodeEncodeError:
        raise InvalidRule("", _HALF) from None
    rule.symbols = _symbols(rule.symbols)
    _check_conditions(rule)
    _check_options(rule)
    rule.name = rule.name.strip() or _default_name(rule)
    return rule


# Short forms -------------------------------------------------------------------

# {"symbol": "AAPL", "condition": "above", "value": 150} is a whole rule.
OF_CONDITION: Final = {name for kind in get_args(Leaf) for name in kind.__struct_fields__} - {
    "rearm"  # may stand beside `conditions`, too
}


def _written_out(raw: Mapping[str, object]) -> dict[str, object]:
    rule = dict(raw)
    if "symbol" in rule and "symbols" not in rule:
        rule["symbols"] = [rule.pop("symbol")]
    if isinstance(rule.get("symbols"), str):
        rule["symbols"] = [rule["symbols"]]
    if "condition" in rule and "conditions" not in rule:
        rule["conditions"] = [_single(rule)]
    rearm = rule.get("rearm")
    conditions = rule.get("conditions")
    if isinstance(conditions, list):
        rule["conditions"] = conditions = [_node(node, 0) for node in conditions]
        if rearm is not None and len(conditions) == 1 and isinstance(conditions[0], dict):
            conditions[0].setdefault("rearm", rule.pop("rearm"))
    if "rearm" in rule:
        raise InvalidRule(
            "rearm", "with several conditions, put it into the condition that it applies to"
        )
    return rule


def _single(rule: dict[str, object]) -> object:
    condition = rule.pop("condition")
    if not isinstance(condition, str):
        return condition
    node: dict[str, object] = {"type": condition}
    if "threshold" in rule:
        node["value"] = rule.pop("threshold")
    node.update({name: rule.pop(name) for name in OF_CONDITION if name in rule})
    return node


def _node(node: object, depth: int) -> object:
    """`{"any": [...]}` as `{"type": "any", "conditions": [...]}`."""
    if not isinstance(node, Mapping):
        return node
    node = dict(node)
    for word in ("all", "any"):
        if word in node and len(node) == 1:
            node = {"type": word, "conditions": node[word]}
    inner = node.get("conditions")
    if isinstance(inner, list) and depth <= MAX_DEPTH:
        node["conditions"] = [_node(each, depth + 1) for each in inner]
    return node


# Checks --------------------------------------------------------------------------------------

_HALF: Final = "holds half of a surrogate pair, which is not UTF-8"
# `type` is a condition's.
_CHOICES: Final = choices_of(Definition, *get_args(Node), type=TYPES)


def _symbols(texts: list[str]) -> list[str]:
    if not 1 <= len(texts) <= MAX_SYMBOLS:
        raise InvalidRule("symbols", f"must name 1 to {MAX_SYMBOLS} symbols, or * for every symbol")
    symbols: dict[str, None] = {}
    for index, text in enumerate(texts):
        try:
            symbols[WILDCARD if text == WILDCARD else parse_symbol(text)] = None
        except InvalidSymbol as exc:
            raise InvalidRule(f"symbols[{index}]", exc.reason) from None
    return [WILDCARD] if WILDCARD in symbols else list(symbols)


def _check_conditions(rule: Definition) -> None:
    if not rule.conditions:
        raise InvalidRule("conditions", "must have at least one condition")
    count = len(leaves(rule.root))
    if count > MAX_CONDITIONS:
        raise InvalidRule("conditions", f"has {count} conditions; a rule may have {MAX_CONDITIONS}")
    for index, node in enumerate(rule.conditions):
        _check_node(node, f"conditions[{index}]", 1, rule)


def _check_node(node: Node, path: str, depth: int, rule: Definition) -> None:
    if isinstance(node, AllOf | AnyOf):
        if depth >= MAX_DEPTH:
            raise InvalidRule(path, f"is nested more than {MAX_DEPTH} deep")
        for index, each in enumerate(node.conditions):
            _check_node(each, f"{path}.conditions[{index}]", depth + 1, rule)
        return
    problem = node.problem
    if problem is not None:
        raise InvalidRule(f"{path}.{problem[0]}", problem[1])
    if isinstance(node, DirectionFlip) and rule.hold:
        raise InvalidRule("for", f"{path} is true for a single update only, so it cannot hold")


def _check_options(rule: Definition) -> None:
    if len(rule.name) > MAX_NAME:
        raise InvalidRule("name", f"has more than {MAX_NAME} characters")
    _check_text("name", rule.name)
    _check_text("message", rule.message)
    try:
        check_template(rule.message)
    except InvalidTemplate as exc:
        raise InvalidRule("message", str(exc)) from None
    if rule.active_hours is not None and rule.active_hours.problem is not None:
        name, reason = rule.active_hours.problem
        raise InvalidRule(f"active_hours.{name}", reason)
    if rule.expires_at is not None:
        if rule.expires_at.tzinfo is None:
            raise InvalidRule("expires_at", "needs a time zone: 2030-01-31T12:00:00Z")
        try:
            rule.expires_at = rule.expires_at.astimezone(UTC)
        except OverflowError:
            raise InvalidRule("expires_at", "lies outside of the years 1 to 9999 in UTC") from None
    if (rule.escalate_to is None) != (rule.escalate_after is None):
        missing = "escalate_to" if rule.escalate_to is None else "escalate_after"
        raise InvalidRule(missing, "an escalation needs both escalate_to and escalate_after")


def _check_text(field: str, text: str) -> None:
    """Refuse text that a database cannot store."""
    if "\x00" in text:
        raise InvalidRule(field, "holds the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRule(field, _HALF) from None


def _default_name(rule: Definition) -> str:
    symbols = ", ".join(rule.symbols[:3]) + ("…" if len(rule.symbols) > 3 else "")
    text = f"{symbols} {describe(rule.root)}"
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"
