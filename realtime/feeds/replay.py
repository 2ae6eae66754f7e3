"""Real daily bars, played again on a compressed clock.

Each bar is played as four ticks: open, the extreme nearer to the open, the other extreme, close.
The file does not say which extreme of a day came first, nor when: both are assumptions, and so is
the volume before the close, a quarter of the day's for each tick. The four timestamps are nominal,
14:30, 16:40, 18:50 and 21:00 UTC (the New York session in winter). A tick does not tell what a
later one brings: its high, low and close are those so far.
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
# Bars before its start that a lap publishes at once, one tick each. The predictor reads the
# history that clients see, so that a prediction can be checked against it; without these it would
# have nothing to work with for a minute, and a chart nothing to draw.
BACKFILL_BARS: Final = 100
# With this one a year goes by in a third of a second.
MAX_SPEED: Final = 1e8
# Without a start date, a lap starts where every symbol has this many bars behind it.
LEAD_BARS: Final = 30

_STEPS_PER_BAR: Final = 4
_LAST_STEP: Final = _STEPS_PER_BAR - 1
# A symbol that is further behind the others than this was not played with them.
CATCH_UP: Final = timedelta(days=7)
_OPENING: Final = time_of_day(14, 30, tzinfo=UTC)
_STEP: Final = timedelta(hours=2, minutes=10)
# A reader that held the replay up for longer (Redis away) gets no burst to catch up with.
_MAX_LATENESS: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A feed from daily bars by symbol, each symbol's in the order of their days.

    `rate`: ticks per second and symbol. `speed` instead: how many times faster than they were the
    days go by, nights and weekends with them (86400: a day in a second). `start`: the first day of
    a lap; without it, the first day on which every symbol asked for has LEAD_BARS bars behind it.
    `loop`: begin again at the end. `clock` (seconds) and `sleep` are for tests.
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
        """Laps of paced ticks, each with its backfill first; raises FeedError.

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
        """Seconds from the first paced tick of a lap to one at this place, this much later."""
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


# A tick and its place in the lap, counted in steps; None: at once.
Lap = Iterator[tuple[float | None, Tick]]


def new_lap(bars: Mapping[str, Sequence[DailyBar]], start: date) -> Lap:
    """The backfill of every symbol, then all bars from `start` on."""
    for symbol in bars:
        yield from _backfill(symbol, bars[symbol], start, None)
    yield from _live(bars, start)


def of_this_lap(
    bars: Mapping[str, Sequence[DailyBar]], start: date, after: Mapping[str, datetime]
) -> Mapping[str, datetime]:
    """`after` without the symbols that are at the end of a lap while others begin the next one."""
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
    """The rest of a lap of which each symbol's ticks up to `after[symbol]` are published.

    The newest of these timestamps is where the lap stood. A symbol that is behind it gets what it
    lacks at once; one that is far behind, or new, the bars that it lacks as its backfill.
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
    """Day by day, and within a step the symbols one after the other, evenly spread."""
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
    """A bar's prices in the order in which they are played."""
    if bar.high - bar.open < bar.open - bar.low:
        return bar.open, bar.high, bar.low, bar.close
    return bar.open, bar.low, bar.high, bar.close
