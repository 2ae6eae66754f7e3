"""Waiting for a condition, bounded."""

import asyncio
from collections.abc import Callable

from tests.patience import PATIENCE


async def until(condition: Callable[[], object]) -> None:
    """Wait until the event loop has made the condition true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (conditions on plain objects set no event)
            await asyncio.sleep(0.001)
