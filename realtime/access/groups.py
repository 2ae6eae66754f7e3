"""Access by Django's groups: REALTIME_USER_ACCESS = "realtime.access.groups.of_user".

A user may do what any of the user's groups may do (*Access of groups* in the admin), a superuser
everything, and a user without such a group nothing.
"""

from collections.abc import Sequence
from typing import Any

from realtime.access.user_access import EVERYTHING, Access
from realtime.models import KEY_LIMITS, GroupAccess


def of_user(user: Any) -> Access:
    """What the groups of a user may do together, with one query."""
    if getattr(user, "is_superuser", False):
        return EVERYTHING
    return together(list(GroupAccess.objects.filter(group__user=user)))


def together(rows: Sequence[GroupAccess]) -> Access:
    """Each scope for all symbols that a row names, and the largest limit that a row sets."""
    symbols: dict[str, list[str]] = {}
    unlimited: set[str] = set()
    for row in rows:
        for scope in row.scopes:
            patterns = row.symbols.get(scope)
            if patterns:
                symbols.setdefault(scope, []).extend(patterns)
            else:
                unlimited.add(scope)
    return Access(
        [*unlimited, *symbols],
        {scope: patterns for scope, patterns in symbols.items() if scope not in unlimited},
        **{name: max((getattr(row, name) for row in rows), default=0) for name in KEY_LIMITS},
    )
