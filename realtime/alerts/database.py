"""The database from the engine's event loop, over a connection that stays open.

Channels' `database_sync_to_async` closes it after every call unless CONN_MAX_AGE says otherwise,
and opening it takes longer than a commit.
"""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from django.db import connection

from realtime.db import reconnecting

P = ParamSpec("P")
T = TypeVar("T")


def in_database(work: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """`work` in the thread of the database; after an error the next call connects again."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return reconnecting(work)(*args, **kwargs)
        except DatabaseError:
            connection.close()
            raise

    return sync_to_async(run, thread_sensitive=True)


async def disconnect() -> None:
    """Close the connection of that thread: `connection` is another one in each."""
    await sync_to_async(lambda: connection.close(), thread_sensitive=True)()
