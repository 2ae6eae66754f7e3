"""Functions for REALTIME_USER_ACCESS, by dotted path."""

from typing import Any

from django.db import connection

from realtime.access.user_access import Access

READ = ("predictions", "market-data", "alerts")
NARROWED = ("predictions", "market-data", "publish")


def by_last_name(user: Any) -> Access:
    """The patterns of symbols stand in the user's last name; without one: every symbol."""
    patterns = user.last_name.split()
    return Access([*READ, "publish"], dict.fromkeys(NARROWED, patterns) if patterns else None)


def nothing(user: Any) -> Access:
    return Access([])


def without_publish(user: Any) -> Access:
    return Access(READ)


def limited(user: Any) -> Access:
    return Access(READ, max_connections=2, max_subscriptions=3, messages_per_second=7)


def broken(user: Any) -> Access:
    raise KeyError("plan\nof a user")


def broken_for_alice(user: Any) -> Access:
    if user.get_username() == "alice":
        raise KeyError("plan")
    return Access(READ)


def bad_query(user: Any) -> Access:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nonsense FROM nowhere")
    return Access(READ)


def forgetful(user: Any) -> None:
    """Returns nothing."""


def text(user: Any) -> str:
    return "market-data"


def unknown_scope(user: Any) -> Access:
    return Access(["market_data"])


async def asynchronous(user: Any) -> Access:
    return Access(READ)


NOT_A_FUNCTION = "everything"
