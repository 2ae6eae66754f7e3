"""Streams: channel and symbol, and the channel-layer group that carries them.

A *stream* is one channel and one symbol; it numbers its updates 1, 2, 3, ... The group name of a
stream is what consumers pass to `group_add` and publishers to `group_send`.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, get_args

Channel = Literal["predictions", "market-data", "alerts"]
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)

WILDCARD: Final = "*"
MAX_SYMBOL_LENGTH: Final = 32

_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.\-_=^:/]{0,31}", re.ASCII)

# Group names may hold ASCII letters, digits, `-`, `_` and `.` only. Symbols have no lower-case
# letters, so one of them can stand for each further character without meeting another symbol.
_TO_GROUP: Final = str.maketrans({"=": "e", "^": "c", ":": "o", "/": "s"})
_FROM_GROUP: Final = str.maketrans({"e": "=", "c": "^", "o": ":", "s": "/"})
# What of a user's primary key can be in the name of a group, and what stands there for others.
_PLAIN_USER: Final = re.compile(r"[A-Za-z0-9.\-]{1,64}", re.ASCII)
_HASHED_USER: Final = re.compile(r"_[0-9a-f]{64}", re.ASCII)
_EVERY: Final = "every"  # of all symbols of a channel; not the escape of any symbol


class InvalidSymbol(ValueError):
    """Raised when a text is not a valid symbol; says what is wrong with it."""

    def __init__(self, symbol: object, reason: str) -> None:
        super().__init__(symbol, reason)
        self.symbol = symbol
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


def parse_symbol(text: object) -> str:
    """Return the upper-cased symbol, or raise InvalidSymbol.

    1 to 32 characters of `A-Z 0-9 . - _ = ^ : /`, the first one a letter, digit or `^`.
    """
    if not isinstance(text, str):
        raise InvalidSymbol(text, f"symbol must be a string, not {type(text).__name__}")
    return _parsed(text)


# Publishers name the same symbols again and again.
@lru_cache(maxsize=16_384)
def _parsed(text: str) -> str:
    if not text:
        raise InvalidSymbol(text, "symbol is empty")
    # str.upper() makes ASCII out of some other letters (U+0131, U+017F): only ASCII goes in.
    symbol = text.upper() if text.isascii() else text
    if len(symbol) > MAX_SYMBOL_LENGTH:
        raise InvalidSymbol(text, f"symbol has more than {MAX_SYMBOL_LENGTH} characters")
    if not _SYMBOL.fullmatch(symbol):
        raise InvalidSymbol(
            text,
            "symbol may hold A-Z 0-9 . - _ = ^ : / only, and starts with a letter, digit or ^",
        )
    return symbol


@dataclass(frozen=True, slots=True)
class Stream:
    """One channel and one symbol.

    `symbol` is `*` for every symbol of the channel. The alerts channel has the streams `all`
    (for everybody) and `user` (for one user: `user_id` is set, see `user_alerts`).
    """

    channel: Channel
    symbol: str
    user_id: int | str | None = None

    @property
    def group(self) -> str:
        """The channel-layer group: `market-data.AAPL`, `predictions.every`, `alerts.user-7`."""
        return _group(self.channel, self.symbol, self.user_id)

    @property
    def wildcard(self) -> bool:
        return self.symbol == WILDCARD

    @classmethod
    def from_group(cls, group: str) -> "Stream | None":
        """The stream that a group carries; None for any other group."""
        channel, dot, rest = group.partition(".")
        if not dot or channel not in CHANNELS:
            return None
        if channel == "alerts":
            if rest == "all":
                return ALERTS_ALL
            kind, dash, user = rest.partition("-")
            if kind != "user" or not dash:
                return None
            known = _PLAIN_USER.fullmatch(user) or _HASHED_USER.fullmatch(user)
            return Stream("alerts", "user", _numbered(user)) if known else None
        if rest == _EVERY:
            return cls(channel, WILDCARD)
        symbol = rest.translate(_FROM_GROUP)
        if not _SYMBOL.fullmatch(symbol):
            return None
        stream = cls(channel, symbol)
        return stream if stream.group == group else None


@lru_cache(maxsize=16_384)
def _group(channel: Channel, symbol: str, user_id: int | str | None) -> str:
    if channel == "alerts":
        return "alerts.all" if user_id is None else f"alerts.user-{user_id}"
    if symbol == WILDCARD:
        return f"{channel}.{_EVERY}"
    return f"{channel}.{symbol.translate(_TO_GROUP)}"


ALERTS_ALL: Final = Stream("alerts", "all")


def user_alerts(user_id: object) -> Stream:
    """The stream of alerts for one user, by primary key, named `user` on the wire.

    Its `user_id` is the key if that is a number, a UUID or a short text, and else a hash of it.
    """
    text = str(user_id)
    if not _PLAIN_USER.fullmatch(text):
        text = f"_{hashlib.sha256(text.encode()).hexdigest()}"
    return Stream("alerts", "user", _numbered(text))


def _numbered(text: str) -> int | str:
    """A number as one: it is spelled in one way."""
    return int(text) if text.isdigit() and str(int(text)) == text else text


def symbol_stream(channel: Channel, symbol: object) -> Stream:
    """The stream of a symbol as a caller wrote it, or of `*`; raises InvalidSymbol."""
    return Stream(channel, WILDCARD if symbol == WILDCARD else parse_symbol(symbol))
