"""The memory of the processes of a soak: it must not grow while they live."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from tests.soak.account import Account

# Between looks, and until a process has what it needs, in seconds.
EVERY = 2.0
WARM = 30.0
# MiB that a process may grow after that: what stalled readers have not read yet, and no more.
MOST_GROWTH = 64.0


class Memory:
    """`growth`: by the name of a program, the most MiB that one of its processes grew."""

    def __init__(self, account: Account, processes: Callable[[], Iterable[tuple[str, int]]]):
        self._account = account
        self._processes = processes
        self._warm: dict[int, float] = {}
        self.growth: dict[str, float] = {}

    async def watch(self) -> None:
        while True:
            for name, pid in self._processes():
                with suppress(psutil.NoSuchProcess):
                    self._look(name, psutil.Process(pid))
            await asyncio.sleep(EVERY)

    def _look(self, name: str, process: psutil.Process) -> None:
        if time.time() - process.create_time() < WARM:
            return
        now = process.memory_info().rss / 2**20
        grown = now - self._warm.setdefault(process.pid, now)
        before = self.growth.get(name, 0.0)
        self.growth[name] = max(before, grown)
        if before <= MOST_GROWTH < grown:
            self._account.violated(f"{name} has grown by {grown:.0f} MiB, to {now:.0f} MiB")
