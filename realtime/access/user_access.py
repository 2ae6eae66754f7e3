"""What one user may read and publish: the project's own rule, a function in REALTIME_USER_ACCESS.

The function is given an active user and returns an `Access`. It is asked when a credential is
looked up, and again after `user_changed`, in a thread that may use the database. An API key may
never read more than its owner.
"""

import inspect
import logging
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django.db import transaction
from django.utils.module_loading import import_string

from realtime.access.cache import RecentCache
from realtime.conf import conf
from realtime.models import KEY_LIMITS
from realtime.scopes import InvalidScope, matches, parse_symbols
from realtime.streams import CHANNELS
from realtime.users import UserId, user_id_of

logger = logging.getLogger(__name__)

USER_SCOPES: Final = (*CHANNELS, "publish")
DEFAULT: Final = "realtime.access.user_access.everything"
# Seconds for which alert rules and webhooks go by the last answer.
RECENT_SECONDS: Final = 5.0
_MAX_PATTERNS: Final = 10_000
_LONGEST_REASON: Final = 300
# Answers that failed a moment ago, by their text: a crowd that reconnects fills no log.
_told: Final[RecentCache[bool]] = RecentCache(RECENT_SECONDS, 100)


class UserAccessFailed(Exception):
    """Raised when the project's function gave no answer: nobody knows what the user may read."""

    def __str__(self) -> str:
        return "What this user may read could not be determined. Try again later."


class Access:
    """What a user may do: `Access(["market-data"], symbols={"market-data": ["BTC*"]})`.

    `symbols` limits a scope to the symbols that match a pattern; a scope that is not in it is for
    every symbol, and one with an empty list for none. `publish` also takes the permission. Limits
    are those of an API key (`max_connections` counts all sockets of the user, those of keys as
    well); 0: the server's. Raises InvalidScope for what cannot be.
    """

    __slots__ = ("limits", "scopes", "symbols")

    def __init__(
        self,
        scopes: Iterable[str],
        symbols: Mapping[str, Iterable[str]] | None = None,
        **limits: int,
    ) -> None:
        listed = _patterns(symbols or {})
        parsed = parse_symbols(listed, most=_MAX_PATTERNS)
        self.symbols = {scope: tuple(patterns) for scope, patterns in parsed.items()}
        nothing = {scope for scope, patterns in listed.items() if not patterns}
        self.scopes: frozenset[str] = _scopes(scopes) - nothing
        self.limits: Mapping[str, int] = {**dict.fromkeys(KEY_LIMITS, 0), **_limits(limits)}

    def allows(self, scope: str, symbol: str | None = None) -> bool:
        """May the user use the scope: at all, for this symbol, or (`*`) for every symbol?"""
        if scope not in self.scopes:
            return False
        patterns = self.symbols.get(scope)
        return symbol is None or patterns is None or matches(patterns, symbol)


def _scopes(names: object) -> frozenset[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidScope(f"scopes must be a list of {', '.join(USER_SCOPES)}")
    wanted = list(names)
    for name in wanted:
        if name not in USER_SCOPES:
            raise InvalidScope(f"{name!r} is not a scope of users; choose {', '.join(USER_SCOPES)}")
    return frozenset(wanted)


def _patterns(symbols: object) -> dict[str, list[object]]:
    if not isinstance(symbols, Mapping):
        raise InvalidScope('symbols must be a dict such as {"market-data": ["BTC*"]}')
    for scope, patterns in symbols.items():
        if isinstance(patterns, str) or not isinstance(patterns, Iterable):
            raise InvalidScope(f"symbols of {scope} must be a list of patterns")
    return {scope: list(patterns) for scope, patterns in symbols.items()}


def _limits(limits: Mapping[str, object]) -> dict[str, int]:
    checked: dict[str, int] = {}
    for name, number in limits.items():
        if name not in KEY_LIMITS:
            raise TypeError(f"{name!r} is not a limit; choose {', '.join(KEY_LIMITS)}")
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InvalidScope(f"{name} must be a whole number of 0 or more")
        checked[name] = number
    return checked


EVERYTHING: Final = Access(USER_SCOPES)


def everything(user: object) -> Access:
    """The default of REALTIME_USER_ACCESS: every active user may read everything."""
    return EVERYTHING


# Asking ---------------------------------------------------------------------------------------


def everybody_reads_all() -> bool:
    """Is there no rule of the project's own?"""
    return bool(conf.REALTIME_USER_ACCESS == DEFAULT)


def load_rule() -> Callable[[object], object]:
    """The project's function; raises ImportError or TypeError, with what is wrong."""
    rule: object = import_string(conf.REALTIME_USER_ACCESS)
    if not callable(rule):
        raise TypeError("it is not a function")
    if inspect.iscoroutinefunction(rule):
        raise TypeError("it is asynchronous; write a plain `def`, which may use the database")
    return rule


def access_of(user: object) -> Access:
    """What a user may do, asked now; raises UserAccessFailed, which has been logged."""
    try:
        answer = _ask(user)
        if isinstance(answer, Access):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError(
            f"returned {type(answer).__name__}; return realtime.access.user_access.Access"
        )
    except Exception as exc:
        _tell(user, exc)
        raise UserAccessFailed from exc


def _ask(user: object) -> object:
    rule = load_rule()
    if rule is everything:
        return EVERYTHING
    # Inside a transaction a statement that fails must not end the caller's.
    if transaction.get_connection().in_atomic_block:
        with transaction.atomic():
            return rule(user)
    return rule(user)


def _tell(user: Any, exc: Exception) -> None:
    reason = " ".join(f"{type(exc).__name__}: {exc}".split())[:_LONGEST_REASON]
    last = traceback.extract_tb(exc.__traceback__)[-1]
    where = f"{last.filename}, line {last.lineno}"
    key = f"{reason} {where}".encode()
    if _told.get(key) is None:
        _told.put(key, True, _told.generation)
        logger.error(
            "REALTIME_USER_ACCESS: %s failed for user %s, who may read nothing: %s (%s)",
            conf.REALTIME_USER_ACCESS, user.pk, reason, where,
        )  # fmt: skip


# Asked for alert rules and webhooks, which may ask hundreds of times a second.
_recent: Final[RecentCache[tuple[UserId, Access]]] = RecentCache(RECENT_SECONDS, 10_000)


def recent_access_of(user: Any) -> Access:
    """`access_of`, a few seconds ago at most; raises UserAccessFailed."""
    if everybody_reads_all():
        return EVERYTHING
    user_id = user_id_of(user.pk)
    digest = str(user_id).encode()
    known = _recent.get(digest)
    if known is None:
        generation = _recent.generation
        known = user_id, access_of(user)
        _recent.put(digest, known, generation)
    return known[1]


def forget_access(user_id: UserId | None = None) -> None:
    """Ask again for this user, or for all, in this process."""
    _recent.forget(lambda known: user_id is None or known[0] == user_id)
