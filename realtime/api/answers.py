"""Answers of the endpoints that accept data, whichever way a request came in. Without DRF.

Each endpoint has one core function, which parses the body, checks rights and limits, acts, and
returns an Answer or raises Refused. Views call it, and so do the faster paths around them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from realtime.access.identity import Identity
from realtime.limits.policy import count_published, publish_rate
from realtime.streams import parse_symbol

T = TypeVar("T")

MAX_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Raised with the answer for a request that is not carried out."""

    def __init__(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.answer = Answer(status, body, headers or {})


Errors = dict[str, list[str]]
REQUIRED: Final = "This field is required."


class Invalid(Refused):
    """A 400 with the errors by field."""

    def __init__(self, errors: Errors) -> None:
        super().__init__(400, errors)
        self.errors = errors

    @classmethod
    def of(cls, name: str, reason: str) -> "Invalid":
        return cls({name: [reason]})


def forbidden(reason: str) -> Refused:
    return Refused(403, {"detail": reason})


def read_batch(items: Sequence[object], name: str, read: Callable[[int, object], T]) -> list[T]:
    """All items of a list; raises Invalid with the errors of each, by its index and field."""
    if not 1 <= len(items) <= MAX_BATCH:
        raise Invalid.of(name, f"A list has 1 to {MAX_BATCH} {name}.")
    values: list[T] = []
    errors: Errors = {}
    for index, item in enumerate(items):
        try:
            values.append(read(index, item))
        except Invalid as exc:
            errors |= {f"{index}.{field}": texts for field, texts in exc.errors.items()}
    if errors:
        raise Invalid(errors)
    return values


def require_fields(item: object, known: Sequence[str]) -> Mapping[str, object]:
    """The item if it is an object of these fields; raises Invalid."""
    if not isinstance(item, Mapping):
        raise Invalid.of("non_field_errors", "This must be a JSON object.")
    names = ", ".join(known)
    unknown = item.keys() - set(known)
    if unknown:
        raise Invalid(
            {name: [f"Unknown field; known fields: {names}."] for name in sorted(unknown)}
        )
    return item


def required(given: Mapping[str, object], names: Sequence[str]) -> Errors:
    return {name: [REQUIRED] for name in names if name not in given}


def require_values(problems: Errors) -> None:
    if problems:
        raise Invalid(problems)


def read_symbol(value: object) -> str:
    """A symbol in a request, maybe a number or with spaces around; raises InvalidSymbol."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return parse_symbol(str(value).strip() if number or isinstance(value, str) else value)


def take_allowance(identity: Identity, number: int) -> None:
    """Count updates before they are published; raises Refused above the limit."""
    wait = math.ceil(count_published(identity, number))
    if wait:
        limit = publish_rate(identity)
        detail = (
            f"More than {limit} updates per second; nothing was published. "
            f"Expected available in {wait} second{'' if wait == 1 else 's'}."
        )
        raise Refused(429, {"detail": detail}, {"Retry-After": str(wait)})
