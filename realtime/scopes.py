"""What a credential may do: scopes, each for every symbol or for those that match a pattern.

Three scopes read the channel of the same name; `publish` sends updates on any of them; `metrics`
reads the numbers of the server.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

from realtime.streams import CHANNELS, MAX_SYMBOL_LENGTH

Scope = Literal["predictions", "market-data", "alerts", "publish", "metrics"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
READ_SCOPES: Final = frozenset(CHANNELS)
# Alerts are for everybody or for one user: a key cannot be limited to the alerts of a symbol.
SYMBOL_SCOPES: Final[tuple[Scope, ...]] = ("predictions", "market-data", "publish")
MAX_PATTERNS: Final = 100

_PATTERN = re.compile(r"[A-Z0-9.\-_=^:/*]+", re.ASCII)
_STARS = re.compile(r"\*+")


class InvalidScope(ValueError):
    """Raised for a scope or a symbol pattern that cannot be; says what is wrong with it."""


def parse_scopes(names: object) -> list[Scope]:
    """The scopes in their usual order, each once; raises InvalidScope."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidScope(f"scopes must be a list of {', '.join(SCOPES)}")
    wanted = list(names)
    for name in wanted:
        if name not in SCOPES:
            raise InvalidScope(f"{name!r} is not a scope; choose {', '.join(SCOPES)}")
    if not wanted:
        raise InvalidScope(f"choose at least one scope of {', '.join(SCOPES)}")
    return [scope for scope in SCOPES if scope in wanted]


def parse_pattern(text: object) -> str:
    """`BTC*`: a symbol, upper-cased, in which `*` stands for any characters, once in a row."""
    if not isinstance(text, str):
        raise InvalidScope(f"a symbol pattern must be a string, not {type(text).__name__}")
    pattern = text.strip().upper() if text.isascii() else text
    if len(pattern) > MAX_SYMBOL_LENGTH or not _PATTERN.fullmatch(pattern):
        raise InvalidScope(
            f"{text[:40]!r} is not a symbol pattern; write a symbol of 1 to {MAX_SYMBOL_LENGTH} "
            "characters, with * for any characters: AAPL, BTC*"
        )
    return _STARS.sub("*", pattern)


def parse_symbols(patterns: object, most: int = MAX_PATTERNS) -> dict[str, list[str]]:
    """`{"market-data": ["btc*"]}` with checked scopes and patterns; raises InvalidScope.

    A scope that is absent, or has an empty list, is for every symbol.
    """
    if not isinstance(patterns, Mapping):
        raise InvalidScope('symbols must be an object such as {"market-data": ["BTC*"]}')
    parsed: dict[str, list[str]] = {}
    for scope, listed in patterns.items():
        if scope not in SYMBOL_SCOPES:
            raise InvalidScope(
                f"{scope!r} cannot be limited to symbols; {', '.join(SYMBOL_SCOPES)} can"
            )
        if not isinstance(listed, list | tuple):
            raise InvalidScope(f"symbols of {scope} must be a list of patterns")
        if len(listed) > most:
            raise InvalidScope(f"symbols of {scope} has more than {most} patterns")
        if listed:
            parsed[scope] = list(dict.fromkeys(parse_pattern(text) for text in listed))
    return parsed


def matches(patterns: Iterable[str], symbol: str) -> bool:
    """Does one of the patterns match this symbol? `*`, every symbol, is matched by `*` only."""
    return any(_fits(pattern, symbol) for pattern in patterns)


def _fits(pattern: str, symbol: str) -> bool:
    """Without a regular expression: one with many stars may take longer than anybody lives."""
    head, star, rest = pattern.partition("*")
    if not star:
        return symbol == pattern
    *middle, tail = rest.split("*")
    at, end = len(head), len(symbol) - len(tail)
    if at > end or not (symbol.startswith(head) and symbol.endswith(tail)):
        return False
    for part in middle:
        found = symbol.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
