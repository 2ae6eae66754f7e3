"""Cancels a task at every turn of the event loop, one after the other."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.patience import scaled


async def turns_that_lose_a_cancellation(
    work: Callable[[], Coroutine[Any, Any, Any]], turns: int
) -> list[int]:
    """The turns, counted from the start of `work`, in which cancelling it does not end it."""
    lost = []
    for turn in range(turns):
        task = asyncio.create_task(work())
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=scaled(2.0))
        if not task.done():
            lost.append(turn)
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=0.1)
    return lost
