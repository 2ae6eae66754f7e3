"""The text of an alert: a template with named fields, and nothing else of Python's formatting.

No attributes, indexes or conversions: the fields that a template may use are listed here.
"""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Final

MAX_TEMPLATE: Final = 500
# Longest text that a template can become: names and symbols are short, numbers bounded below.
_SPEC: Final = re.compile(r",?(?:\.\d)?[f%]?|", re.ASCII)

# Texts, then numbers; docs/reference/alert-rules.md says what each is.
TEXT_FIELDS: Final = ("symbol", "rule", "severity", "condition", "time")
NUMBER_FIELDS: Final = (
    "value", "price", "volume", "confidence", "predicted_price", "predicted_return", "move",
)  # fmt: skip
UNKNOWN: Final = "n/a"

_formatter: Final = Formatter()


class InvalidTemplate(ValueError):
    """Raised for a template that cannot be filled in; says what is wrong with it."""


def check_template(template: str) -> None:
    """Raise InvalidTemplate unless `render` can fill this in."""
    if len(template) > MAX_TEMPLATE:
        raise InvalidTemplate(f"has more than {MAX_TEMPLATE} characters")
    try:
        parts = list(_formatter.parse(template))
    except ValueError as exc:
        raise InvalidTemplate(f"{exc}; write {{{{ and }}}} for braces") from None
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in TEXT_FIELDS and name not in NUMBER_FIELDS:
            known = ", ".join((*TEXT_FIELDS, *NUMBER_FIELDS))
            raise InvalidTemplate(f"unknown field {name[:40]!r}; known fields: {known}")
        if conversion or (spec and (name in TEXT_FIELDS or not _SPEC.fullmatch(spec))):
            raise InvalidTemplate(
                f"{name}: cannot be formatted like this; numbers take a format such as .2f or ,.0f"
            )


def render(template: str, fields: Mapping[str, str | float | None]) -> str:
    """The template with its fields filled in; an unknown field reads `n/a`."""
    parts = []
    for literal, name, spec, _ in _formatter.parse(template):
        parts.append(literal)
        if name is not None:
            parts.append(_shown(fields.get(name), spec or ""))
    return "".join(parts)


def _shown(value: str | float | None, spec: str) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return value
    text = format(value, spec or ".10g")
    # `%` multiplies by a hundred, which may be too much for a float.
    return UNKNOWN if "inf" in text else text
