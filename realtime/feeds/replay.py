"""Replays real daily bars on an accelerated clock.

Each bar is replayed as four ticks: open, the extreme nearer to the open, the other extreme, close.
The file does not say which extreme of a day came first, or when: both are assumptions, and so is
the volume of each tick, a quarter of the day's. The four timestamps are nominal, 14:30, 16:40,
18:50 and 21:00 UTC (the New York session in winter). A tick reveals nothing of later ticks: its
high, low and close are those so far.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Final

from realtime.feeds.csv_bars import DailyBar, FeedError
from realtime.feeds.ticks import Tick

SOURCE: Final = "replay"
# Bars before its start that a lap publishes at once, one tick each. The predictor reads the same
# history as clients, so that a prediction can be checked against it; without these bars, the
# predictor and the charts would have no data for a minute.
BACKFILL_BARS: Final = 100
# At this speed, a year passes in a third of a second.
MAX_SPEED: Final = 1e8
# Without a start date, a lap starts where every symbol has this many earlier bars.
LEAD_BARS: Final = 30

_STEPS_PER_BAR: Final = 4
_LAST_STEP: Final = _STEPS_PER_BAR - 1
# A symbol that lags behind the others by more than this was not part of the same lap.
CATCH_UP: Final = timedelta(days=7)
_OPENING: Final = time_of_day(14, 30, tzinfo=UTC)
_STEP: Final = timedelta(hours=2, minutes=10)
# After a longer stall (Redis was away), the replay does not catch up in a burst.
_MAX_LATENESS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A feed of daily bars by symbol, in the order of their days.

    `rate`: ticks per second and symbol. `speed`, instead of `rate`: the factor by which time is
    accelerated, nights and weekends included (86400: a day in a second). `start`: the first day of
    a lap; by default, the first day on which every requested symbol has LEAD_BARS earlier bars.
    `loop`: start over at the end. `clock` (seconds) and `sleep` are for tests.
    """

    bars: Mapping[str, Sequence[DailyBar]]
    rate: float = 2.0
    speed: float | None = None
    start: date | None = None
    loop: bool = True
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    source: str = SOURCE

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 10_000:
            raise FeedError(f"rate is {self.rate}; it must lie above 0 and up to 10000")
        if self.speed is not None and not 0 < self.speed <= MAX_SPEED:
            raise FeedError(f"speed is {self.speed}; it must lie above 0 and up to {MAX_SPEED:g}")

    async def ticks(
        self, symbols: Sequence[str], after: Mapping[str, datetime] | None = None
    ) -> AsyncGenerator[Tick, None]:
        """Laps of paced ticks, each one preceded by its backfill; raises FeedError.

        `after` (the last published timestamp of each symbol) continues the lap it belongs to.
        """
        start = self._first_day(symbols)
        chosen = {symbol: self.bars[symbol] for symbol in symbols}
        after = {symbol: moment for symbol, moment in (after or {}).items() if symbol in chosen}
        if self.loop:
            after = of_this_lap(chosen, start, after)
        lap = resumed_lap(chosen, start, after) if after else new_lap(chosen, start)
        while True:
            origin: float | None = None
            first: datetime | None = None
            for place, tick in lap:
                if place is not None:
                    first = first or tick.timestamp
                    due = self._due(place, tick.timestamp - first)
                    now = self.clock()
                    if origin is None or now - origin - due > _MAX_LATENESS:
                        origin = now - due
                    if (wait := origin + due - now) > 0:
                        await self.sleep(wait)
                yield tick
            if not self.loop:
                return
            lap = new_lap(chosen, start)

    def _due(self, place: float, elapsed: timedelta) -> float:
        """Seconds from the first paced tick of a lap to the tick at this step, this much later."""
        if self.speed is None:
            return place / self.rate
        return elapsed.total_seconds() / self.speed

    def _first_day(self, symbols: Sequence[str]) -> date:
        unknown = sorted(set(symbols) - set(self.bars))
        if unknown or not symbols:
            what = f"no bars for {', '.join(unknown)}" if unknown else "no symbol given"
            raise FeedError(f"{what}; available: {', '.join(sorted(self.bars))}")
        if self.start is None:
            return max(
                bars[min(LEAD_BARS, len(bars) // 2)].day
                for bars in (self.bars[symbol] for symbol in symbols)
            )
        last = max(self.bars[symbol][-1].day for symbol in symbols)
        if self.start > last:
            raise FeedError(f"start {self.start} is after the last bar of {last}")
        return self.start


# A tick and its position in the lap, in steps; None: publish at once.
Lap = Iterator[tuple[float | None, Tick]]


def new_lap(bars: Mapping[str, Sequence[DailyBar]], start: date) -> Lap:
    """The backfill of every symbol, then all bars from `start` on."""
    for symbol in bars:
        yield from _backfill(symbol, bars[symbol], start, None)
    yield from _live(bars, start)


def of_this_lap(
    bars: Mapping[str, Sequence[DailyBar]], start: date, after: Mapping[str, datetime]
) -> Mapping[str, datetime]:
    """`after` without symbols that are at the end of a lap while others have begun the next one."""
    ended = {
        symbol
        for symbol, moment in after.items()
        if moment >= bar_tick(symbol, bars[symbol], len(bars[symbol]) - 1, _LAST_STEP).timestamp
    }
    begun = {symbol: moment for symbol, moment in after.items() if symbol not in ended}
    if begun and max(begun.values()).date() <= start + CATCH_UP:
        return begun
    return after if begun else {}


def resumed_lap(
    bars: Mapping[str, Sequence[DailyBar]], start: date, after: Mapping[str, datetime]
) -> Lap:
    """The rest of a lap, after each symbol's ticks up to `after[symbol]`.

    The newest of these timestamps is the position of the lap. A symbol behind it receives its
    missing ticks at once; a symbol that is far behind, or new, receives its missing bars as
    backfill.
    """
    newest = max(after.values())
    if newest.date() < start:
        for place, tick in new_lap(bars, start):
            if tick.symbol not in after or tick.timestamp > after[tick.symbol]:
                yield place, tick
        return
    near = {name: moment for name, moment in after.items() if newest - moment <= CATCH_UP}
    for symbol in bars:
        live_from = start if symbol in near else newest.date()
        yield from _backfill(symbol, bars[symbol], live_from, after.get(symbol))
    for place, tick in _live(bars, max(start, min(near.values()).date())):
        if tick.symbol not in near:
            unpublished = tick.timestamp >= newest
        else:
            unpublished = tick.timestamp > near[tick.symbol]
        if unpublished:
            yield (place if tick.timestamp >= newest else None), tick


def _backfill(symbol: str, bars: Sequence[DailyBar], before: date, after: datetime | None) -> Lap:
    past = [index for index, bar in enumerate(bars) if bar.day < before]
    for index in past[-BACKFILL_BARS:]:
        tick = bar_tick(symbol, bars, index, _LAST_STEP, backfill=True)
        if after is None or tick.timestamp > after:
            yield None, tick


def _live(bars: Mapping[str, Sequence[DailyBar]], start: date) -> Lap:
    """Day by day; within a step, the symbols follow one another at even intervals."""
    places = {symbol: {bar.day: n for n, bar in enumerate(bars[symbol])} for symbol in bars}
    days = sorted({day for known in places.values() for day in known if day >= start})
    for number, day in enumerate(days):
        for step in range(_STEPS_PER_BAR):
            for turn, symbol in enumerate(bars):
                if (index := places[symbol].get(day)) is not None:
                    place = number * _STEPS_PER_BAR + step + turn / len(bars)
                    yield place, bar_tick(symbol, bars[symbol], index, step)


def bar_tick(
    symbol: str, bars: Sequence[DailyBar], index: int, step: int, *, backfill: bool = False
) -> Tick:
    """The tick of one step (0 to 3) of a bar; the last one has the whole bar."""
    bar = bars[index]
    so_far = prices_of(bar)[: step + 1]
    return Tick(
        symbol=symbol,
        price=so_far[-1],
        volume=None if bar.volume is None else bar.volume * (step + 1) // _STEPS_PER_BAR,
        timestamp=datetime.combine(bar.day, _OPENING) + step * _STEP,
        source=SOURCE,
        open=bar.open,
        high=max(so_far),
        low=min(so_far),
        close=so_far[-1],
        previous_close=bars[index - 1].close if index else None,
        bar_date=bar.day,
        backfill=backfill,
    )


def prices_of(bar: DailyBar) -> tuple[float, float, float, float]:
    """A bar's prices in the order of the replay."""
    if bar.high - bar.open < bar.open - bar.low:
        return bar.open, bar.high, bar.low, bar.close
    return bar.open, bar.low, bar.high, bar.close
