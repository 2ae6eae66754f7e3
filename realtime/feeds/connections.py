"""The common part of live feeds: connections that break, names of symbols, user feeds."""

import asyncio
import inspect
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from realtime.bars.ticks import FUTURE
from realtime.cancelling import cancel
from realtime.feeds.csv_bars import FeedError
from realtime.feeds.ticks import Correction, Tick
from realtime.retry import full_jitter

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Items of several connections that may wait for the reader.
_MERGED: Final = 1000


# Seconds after which a connection does not count as a failed attempt.
STEADY: Final = 10.0

# How far back missed trades are fetched after a gap between two connections.
BACKLOG: Final = timedelta(minutes=15)


class Seen:
    """The time of the newest tick of each symbol, at which a new connection continues."""

    def __init__(self, after: Mapping[str, datetime] | None) -> None:
        self._newest = dict(after or {})

    def note(self, tick: Tick) -> None:
        if tick.timestamp > datetime.now(UTC) + FUTURE:
            return  # all later ticks would be older
        newest = self._newest.get(tick.symbol)
        if newest is None or tick.timestamp > newest:
            self._newest[tick.symbol] = tick.timestamp

    def missed_since(self, symbol: str, now: datetime) -> datetime | None:
        """The time from which ticks of a symbol may be missing; None: no tick has been seen yet."""
        newest = self._newest.get(symbol)
        return None if newest is None else max(newest, now - BACKLOG)


class ConnectionLost(Exception):
    """Raised when a connection has ended; the text says why. A new connection may work."""


async def reconnecting(
    name: str,
    connect: Callable[[], AsyncGenerator[T, None]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    chance: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[T, None]:
    """Items from successive connections, with full-jitter backoff between them.

    The backoff is reset by a connection that delivered an item and lasted STEADY seconds, so the
    pauses also grow if each connection breaks at its first item.

    `connect` yields the items of a new connection and raises ConnectionLost at its end; any other
    error is final.
    """
    attempt = 0
    while True:
        began, live = clock(), False
        try:
            async with aclosing(connect()) as items:
                async for item in items:
                    if attempt and not live:
                        logger.warning("%s is back", name)
                    live = True
                    yield item
            reason = "it ended"
        except ConnectionLost as exc:
            reason = str(exc)
        if live and clock() - began >= STEADY:
            attempt = 0
        pause = full_jitter(attempt, chance())
        attempt += 1
        logger.warning("connection to %s lost: %s; again in %.1f s", name, reason, pause)
        await sleep(pause)


async def merged(sources: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The items of several sources as they arrive. An error of one source ends all of them.

    Each is read by a task of its own, also while the reader is busy with something else.
    """
    queue: asyncio.Queue[T] = asyncio.Queue(_MERGED)

    async def pump(source: AsyncGenerator[T, None]) -> None:
        async with aclosing(source) as items:
            async for item in items:
                await queue.put(item)

    tasks = [asyncio.create_task(pump(source)) for source in sources]
    try:
        while True:
            while not queue.empty():
                yield queue.get_nowait()
            if not tasks:
                return
            getting = asyncio.create_task(queue.get())
            await asyncio.wait([getting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                yield getting.result()
            else:
                getting.cancel()
            ended = [task for task in tasks if task.done()]
            while ended and not queue.empty():
                yield queue.get_nowait()  # items that arrived before the end
            for task in ended:
                task.result()
                tasks.remove(task)
    finally:
        await cancel(*tasks)
        await asyncio.gather(*tasks, return_exceptions=True)


# Names of symbols -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SymbolNames:
    """A market's names of our symbols: `theirs` by our name, `ours` by the market's."""

    theirs: Mapping[str, str]
    ours: Mapping[str, str]

    @classmethod
    def of(
        cls, symbols: Sequence[str], overrides: Mapping[str, str], rule: Callable[[str], str]
    ) -> "SymbolNames":
        """Names by the market's rule or as overridden; raises FeedError if two would coincide."""
        theirs = {symbol: overrides.get(symbol) or rule(symbol) for symbol in symbols}
        ours: dict[str, str] = {}
        for symbol, name in theirs.items():
            if name in ours:
                raise FeedError(f"{ours[name]} and {symbol} are both {name} there: leave one out")
            ours[name] = symbol
        return cls(theirs, ours)


def slashed(symbol: str) -> str:
    """`BTC-USD` is `BTC/USD` where base and quote are written with a slash."""
    return symbol.replace("-", "/")


# An own feed ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CallableFeed:
    """A feed made of one function: `async def ticks(symbols)`, or `ticks(symbols, after)`.

    Without an `after` parameter, ticks that it repeats after a restart (not newer than the last
    published one) are dropped.
    """

    function: Callable[..., AsyncIterator[Tick | Correction]]
    source: str

    async def ticks(
        self, symbols: Sequence[str], after: Mapping[str, datetime] | None = None
    ) -> AsyncGenerator[Tick | Correction, None]:
        after = after or {}
        takes_after = _takes_after(self.function)
        items = self.function(symbols, after) if takes_after else self.function(symbols)
        async for tick in items:
            if isinstance(tick, Correction):
                yield tick
                continue
            if not isinstance(tick, Tick):
                raise FeedError(
                    f"{self.source} yielded a {type(tick).__name__}; "
                    "a feed yields realtime.feeds.ticks.Tick"
                )
            last = None if takes_after or tick.id is not None else after.get(tick.symbol)
            if last is None or _newer(tick, last):
                yield tick


def _newer(tick: Tick, last: datetime) -> bool:
    try:
        return milliseconds(tick.timestamp) > last
    except (TypeError, AttributeError):
        return True  # no time, or one without a zone: publishing it reports the error


def _takes_after(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind((), {})
    except TypeError:
        return False
    return True


def milliseconds(moment: datetime) -> datetime:
    """The moment, truncated to milliseconds as on the wire."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
