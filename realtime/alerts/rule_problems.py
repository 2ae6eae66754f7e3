"""All that is wrong with a rule at once, for clients that show a form."""

import re
from collections.abc import Mapping
from typing import Any, Final

from realtime.alerts.rules import OF_CONDITION, InvalidRule, parse_rule

# More than that nobody reads.
_MOST: Final = 20
_NAME: Final = re.compile(r"[a-z_]+")
_CONDITION: Final = re.compile(r"conditions\[(\d+)\]")
_VALID: Final = {"type": "above", "value": 1}


def problems_of(raw: object) -> dict[str, str]:
    """The reasons by field: one of each field and of each condition; {} for a valid rule.

    What is wrong is replaced by something valid, and the rest is checked again.
    """
    left: Any = dict(raw) if isinstance(raw, Mapping) else raw
    found: dict[str, str] = {}
    while len(found) < _MOST:
        try:
            parse_rule(left)
        except InvalidRule as exc:
            known = exc.field in found
            found.setdefault(exc.field, exc.reason)
            if known or not _mend(left, exc.field):
                break
        else:
            break
    return found


def _mend(rule: Any, field: str) -> bool:
    """Put something valid in the place of a field; False for what is not about one."""
    match = _NAME.match(field)
    if match is None:
        return False
    name = match[0]
    if name == "conditions":
        _mend_conditions(rule, field)
    elif name == "symbols":
        rule.pop("symbol", None)
        rule["symbols"] = ["A"]
    elif name not in rule and not name.startswith("escalate_"):
        return False
    else:
        # The fields of an escalation come together.
        for each in ("escalate_to", "escalate_after") if name.startswith("escalate_") else (name,):
            rule.pop(each, None)
    return True


def _mend_conditions(rule: Any, field: str) -> None:
    conditions, match = rule.get("conditions"), _CONDITION.match(field)
    if isinstance(conditions, list) and match is not None and int(match[1]) < len(conditions):
        rule["conditions"] = [
            _VALID if index == int(match[1]) else each for index, each in enumerate(conditions)
        ]
        return
    for name in (*OF_CONDITION, "condition"):  # of the short form
        rule.pop(name, None)
    rule["conditions"] = [_VALID]
