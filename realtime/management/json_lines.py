"""Reads JSON objects from a terminal or a pipe, with errors that name the place."""

import json
import os
from collections.abc import Iterator
from typing import Final

from realtime.broadcast import InvalidUpdate
from realtime.protocol import JsonObject

# The size of a pipe on Linux: all bytes that wait there make one batch.
_READ_BYTES: Final = 65536
_EXAMPLE: Final = '{"price": 149.5}, in single quotes for the shell'
_JSON_NAMES: Final = {list: "list", str: "string", bool: "boolean", type(None): "null"}


def parse_object(text: str) -> JsonObject:
    """The JSON object in a text; raises InvalidUpdate.

    `NaN` and `Infinity` pass here: the later check of the update refuses them with the path of
    their field.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as exc:
        raise InvalidUpdate(
            "JSON", f"{exc.msg} at character {exc.pos + 1}; an object looks like {_EXAMPLE}"
        ) from None
    except (ValueError, RecursionError) as exc:  # an integer of 4,301 digits; [[[[[[…
        raise InvalidUpdate("JSON", str(exc)) from None
    if not isinstance(content, dict):
        kind = _JSON_NAMES.get(type(content), "number")
        raise InvalidUpdate("JSON", f"must be an object like {_EXAMPLE}, not a {kind}")
    return content


def read_lines(source: int, longest: int) -> Iterator[list[bytes]]:
    """The lines of a file descriptor, in batches: all available lines, then wait for more.

    A slow pipe is read line by line; a fast one 64 KiB at a time. Of a line with more than
    `longest` bytes only the beginning is kept, enough to see that it is too long.
    """
    rest = b""
    while chunk := os.read(source, _READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[: longest + 1]
        if lines:
            yield lines
    if rest:
        yield [rest]


def parse_line(line: bytes, longest: int) -> JsonObject:
    """The JSON object of a line from `read_lines`; raises InvalidUpdate."""
    if len(line) > longest:
        raise InvalidUpdate("JSON", f"the line has more than {longest} bytes")
    try:
        text = line.decode()
    except UnicodeDecodeError as exc:
        raise InvalidUpdate("JSON", f"not UTF-8: byte {exc.start + 1} is wrong") from None
    return parse_object(text)
