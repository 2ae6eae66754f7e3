"""The database outside of requests: in commands, workers, feeds, and from an event loop.

Django looks after a connection when a request begins and ends. Elsewhere nothing does: one that
its server has closed (a restart, a failover, a proxy that was tired of it) stays where it is, and
every query on it fails, for the rest of the process.
"""

import functools
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.db import InterfaceError, OperationalError, connections

P = ParamSpec("P")
T = TypeVar("T")

# What the database raises when it is away or locked for too long. Anything else it would refuse
# again.
OUTAGES: Final = (InterfaceError, OperationalError)
# A connection that was idle for longer may have been closed at its other end.
IDLE_SECONDS: Final = 10.0


def reconnecting(work: Callable[P, T]) -> Callable[P, T]:
    """`work`, which is tried once more if the connection was dead before it began.

    Nothing runs twice: where one statement was answered before the connection broke, the error
    goes to the caller, and the next call has a new connection. Inside `transaction.atomic()` it is
    `work` itself, as only the owner of a transaction can repeat it.
    """

    @functools.wraps(work)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        held = [
            (each, each.connection)
            for each in connections.all(initialized_only=True)
            if each.connection is not None
        ]
        if any(each.in_atomic_block or not each.autocommit for each, _ in held):
            return work(*args, **kwargs)
        heard = _Answers()
        try:
            with ExitStack() as stack:
                for each, _ in held:
                    stack.enter_context(each.execute_wrapper(heard))
                return work(*args, **kwargs)
        except OUTAGES:
            # A list: each of them that is dead is to be closed.
            dead = [each for each, before in held if _drop(each, before)]
            if heard.any or not dead:
                raise
        return work(*args, **kwargs)

    return run


def in_database(
    work: Callable[P, T], *, thread_sensitive: bool = True
) -> Callable[P, Awaitable[T]]:
    """`work` as a coroutine function, in a thread that may wait; see `reconnecting`."""
    return database_sync_to_async(reconnecting(work), thread_sensitive=thread_sensitive)


class DatabaseThread:
    """Calls from an event loop, one after the other, over a connection that stays open.

    Channels closes it after each call unless CONN_MAX_AGE says otherwise, and opening it takes
    longer than a commit. Whatever a call raises, the next one has a new connection.
    """

    def __init__(self, name: str | None = None) -> None:
        """A thread of this name, or else the one that all asynchronous code shares.

        The shared thread also looks up the credentials of sockets: what may take long does not
        belong there.
        """
        self._executor = None if name is None else ThreadPoolExecutor(1, name)
        self._used = 0.0

    def run(self, work: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        """`work` as a coroutine function that runs in this thread; see `reconnecting`."""

        @functools.wraps(work)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            if time.monotonic() - self._used > IDLE_SECONDS:
                connections.close_all()
            try:
                result = reconnecting(work)(*args, **kwargs)
            except BaseException:
                connections.close_all()
                raise
            self._used = time.monotonic()
            return result

        return self._in_thread(call)

    async def close(self) -> None:
        """Close the connection, after the calls that are under way."""
        await self._in_thread(connections.close_all)()

    def _in_thread(self, work: Callable[P, T]) -> Callable[P, Awaitable[T]]:
        shared = self._executor is None
        return sync_to_async(work, thread_sensitive=shared, executor=self._executor)


shared_thread: Final = DatabaseThread()


class _Answers:
    """Has the database answered any statement?"""

    def __init__(self) -> None:
        self.any = False

    def __call__(self, execute: Callable[..., object], *arguments: object) -> object:
        answer = execute(*arguments)
        self.any = True
        return answer


def _drop(each: Any, before: object) -> bool:
    """Close a connection that is of no use any more; True if the one from `before` is gone."""
    if each.connection is not None and not each.is_usable():
        each.close()
    return each.connection is not before
