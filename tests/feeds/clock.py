"""Time that passes only when somebody sleeps."""

import asyncio
import heapq
import itertools


class Clock:
    """`clock()` is the time in seconds; `await clock.sleep(s)` returns when it has come to it.

    The time goes on to the earliest sleeper's end once nothing else in the event loop runs.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._turning: asyncio.Task[None] | None = None

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        end = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), end))
        if self._turning is None or self._turning.done():
            self._turning = asyncio.create_task(self._turn())
        await end

    async def _turn(self) -> None:
        while self._sleepers:
            # A few turns of the loop, in which the last task to wake may act and sleep again.
            for _ in range(10):
                await asyncio.sleep(0)
            if self._sleepers:
                due, _, end = heapq.heappop(self._sleepers)
                self.now = max(self.now, due)
                if not end.done():
                    end.set_result(None)
