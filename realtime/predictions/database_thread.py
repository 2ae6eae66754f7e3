"""A thread of its own for queries that somebody waits for, with a connection that stays open.

The thread that Django shares among all asynchronous code is also the one that looks up the
credentials of sockets: what may take long does not belong there. And opening a connection for
each call, as `database_sync_to_async` does in further threads, costs more than most queries.
"""

import functools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from realtime.db import reconnecting

P = ParamSpec("P")
R = TypeVar("R")

# A connection that was idle for longer may have been closed at its other end.
IDLE_SECONDS: Final = 10.0


class DatabaseThread:
    """Calls run one after the other. Whatever a call raises, the next one has a new connection."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, name)
        self._used = 0.0

    def run(self, function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
        """The function as a coroutine function that runs in this thread."""

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if time.monotonic() - self._used > IDLE_SECONDS:
                connections.close_all()
            try:
                result = reconnecting(function)(*args, **kwargs)
            except BaseException:
                connections.close_all()
                raise
            self._used = time.monotonic()
            return result

        return sync_to_async(call, thread_sensitive=False, executor=self._executor)

    def close(self) -> None:
        """Close the connection, after the calls that are under way."""
        self._executor.submit(connections.close_all).result()
