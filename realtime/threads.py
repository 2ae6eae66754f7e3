"""Blocking work beside an event loop, in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_own_thread(work: Callable[[], T], name: str) -> T:
    """What `work` returns or raises.

    Slow work holds up neither that of others, as in a shared pool of threads, nor the end of the
    process.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as exc:
            _settle(loop, future, exc)
        else:
            _settle(loop, future, result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], result: T | Exception
) -> None:
    def settle() -> None:
        if future.done():  # no caller waits any more
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(settle)
