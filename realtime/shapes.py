"""msgspec's errors as field and reason: what of a JSON text does not fit a struct. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from msgspec import Struct

Choices = Mapping[str, Sequence[str]]

# msgspec's own texts: "Expected `str`, got `int` - at `$.symbol`", "Invalid enum value 'x' - at …",
# "Object contains unknown field `x`", "Object missing required field `type`".
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_FIELD: Final = re.compile(r"field `(.*?)`", re.DOTALL)
_ENUM: Final = re.compile(r"Invalid (?:enum )?value ")
# What is said of a client's own words, which may be as long as a message.
_MAX_LENGTH: Final = 128


def choices_of(*structs: type[Struct], **more: Sequence[str]) -> Choices:
    """The values of each Literal field, by its name; `more` are those of other fields."""
    found: dict[str, Sequence[str]] = dict(more)
    for struct in structs:
        for name, hint in get_type_hints(struct).items():
            for kind in (hint, *get_args(hint)):
                if get_origin(kind) is Literal:
                    found[name] = get_args(kind)
    return found


def explain(error: str, choices: Choices) -> tuple[str, str]:
    """The path of the field ("" for the whole), and what is wrong with it.

    `choices` are the values of the fields that have only some, by their names.
    """
    path, named = (_found(pattern, error) for pattern in (_PATH, _FIELD))
    field = ".".join(part for part in (path, named) if part)
    reason = _PATH.sub("", error).replace("`", "").replace("Object ", "")
    values = choices.get(field.rpartition(".")[2]) if _ENUM.match(reason) else None
    if values is not None:
        reason = f"must be one of {', '.join(values)}"
    return field[:_MAX_LENGTH], reason[: 2 * _MAX_LENGTH]


def _found(pattern: re.Pattern[str], text: str) -> str:
    match: re.Match[Any] | None = pattern.search(text)
    return match.group(1) if match else ""
