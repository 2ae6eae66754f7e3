"""Ending tasks that may lose a cancellation, and work that may outlast its order to stop.

Before Python 3.12 `asyncio.wait_for` swallows a cancellation that comes in the same turn of the
loop as the end of what it waits for. We do not use it, but libraries that our tasks await do.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

# Seconds after which a task that has not ended is cancelled once more: its cleanup has this long.
AGAIN_SECONDS: Final = 0.5
# Seconds that work gets to finish by itself once it has been told to stop.
GRACE_SECONDS: Final = 1.0


async def cancel(*tasks: "asyncio.Future[Any]", again: float = AGAIN_SECONDS) -> None:
    """Cancel tasks, as often as it takes, and wait until all of them have ended."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again)


async def cancel_others() -> None:
    """End every other task of this event loop: `asyncio.run` cancels what is left only once."""
    await cancel(*(asyncio.all_tasks() - {asyncio.current_task()}))


async def run_until(
    stop: asyncio.Event, work: Coroutine[object, object, None], *, grace: float = GRACE_SECONDS
) -> None:
    """Run `work` to its end; once `stop` is set, for `grace` seconds more and no longer.

    What it waits for may take its time: a Redis that is paused answers nothing for seconds.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await asyncio.wait([working], timeout=grace)
    finally:
        await cancel(working, stopping)
    if not working.cancelled():
        working.result()
