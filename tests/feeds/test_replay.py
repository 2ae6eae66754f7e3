import itertools
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.feeds.csv_bars import STOCKS, DailyBar, FeedError, read_bars
from realtime.feeds.replay import BACKFILL_BARS, LEAD_BARS, Replay
from realtime.feeds.ticks import Tick
from tests.feeds.clock import Clock

FIRST = date(2008, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def bars(count: int, begin: int = 0) -> list[DailyBar]:
    """Bars of consecutive days; the prices of day n lie around 100 + n."""
    return [
        DailyBar(day(n), 100.0 + n, 103.0 + n, 98.0 + n, 101.0 + n, 1003)
        for n in range(begin, count)
    ]


async def first_ticks(
    replay: Replay,
    count: int,
    symbols: Iterable[str] = ("AAPL",),
    after: dict[str, datetime] | None = None,
) -> list[Tick]:
    ticks = []
    async for tick in replay.ticks(list(symbols), after):
        ticks.append(tick)
        if len(ticks) == count:
            break
    return ticks


async def lap(replay: Replay, symbols: Iterable[str] = ("AAPL",)) -> list[Tick]:
    return [tick async for tick in replay.ticks(list(symbols))]


def replay(clock: Clock, held: dict[str, list[DailyBar]], **options: object) -> Replay:
    return Replay(bars=held, clock=clock, sleep=clock.sleep, **options)  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_bar_is_played_as_open_extremes_and_close(clock: Clock) -> None:
    ticks = await first_ticks(replay(clock, {"AAPL": bars(1)}), 4)
    assert [tick.price for tick in ticks] == [100.0, 98.0, 103.0, 101.0]


async def test_the_extreme_nearer_to_the_open_comes_first(clock: Clock) -> None:
    bar = DailyBar(day(0), 10.0, 10.5, 8.0, 9.0, 4)
    ticks = await first_ticks(replay(clock, {"AAPL": [bar]}), 4)
    assert [tick.price for tick in ticks] == [10.0, 10.5, 8.0, 9.0]


async def test_a_tick_tells_nothing_of_later_ones(clock: Clock) -> None:
    ticks = await first_ticks(replay(clock, {"AAPL": bars(1)}), 4)
    so_far = [(tick.open, tick.high, tick.low, tick.close, tick.volume) for tick in ticks]
    assert so_far == [
        (100.0, 100.0, 100.0, 100.0, 250),
        (100.0, 100.0, 98.0, 98.0, 501),
        (100.0, 103.0, 98.0, 103.0, 752),
        (100.0, 103.0, 98.0, 101.0, 1003),
    ]


async def test_data_has_the_names_of_the_wire(clock: Clock) -> None:
    tick = (await first_ticks(replay(clock, {"AAPL": bars(2)}, start=day(1)), 5))[-1]
    assert tick.as_data() == {
        "price": 102.0,
        "volume": 1003,
        "timestamp": "2008-01-02T21:00:00.000Z",
        "open": 101.0,
        "high": 104.0,
        "low": 99.0,
        "close": 102.0,
        "change_percent": 0.9901,
        "bar_date": "2008-01-02",
        "source": "replay",
    }


async def test_the_first_bar_has_no_change(clock: Clock) -> None:
    tick = (await first_ticks(replay(clock, {"AAPL": bars(1)}), 1))[0]
    assert "change_percent" not in tick.as_data()


async def test_two_updates_a_second_and_symbol_by_default(clock: Clock) -> None:
    held = {"AAPL": bars(40), "MSFT": bars(40)}
    seen = []
    feed = replay(clock, held, start=FIRST, loop=False)
    async for tick in feed.ticks(["AAPL", "MSFT"]):
        seen.append((clock.now, tick.symbol))
    assert seen[:4] == [(0.0, "AAPL"), (0.25, "MSFT"), (0.5, "AAPL"), (0.75, "MSFT")]
    assert len(seen) == 2 * 40 * 4
    assert clock.now == pytest.approx(80 - 0.25)


async def test_the_rate_is_configurable(clock: Clock) -> None:
    await lap(replay(clock, {"AAPL": bars(100)}, start=FIRST, loop=False, rate=50))
    assert clock.now == pytest.approx(400 / 50 - 1 / 50)


async def test_a_reader_that_waited_long_gets_no_burst(clock: Clock) -> None:
    times = []
    async for _ in replay(clock, {"AAPL": bars(2)}, start=FIRST, loop=False).ticks(["AAPL"]):
        times.append(clock.now)
        if len(times) == 3:
            await clock.sleep(60)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses == [0.5, 0.5, 60.0, 0.5, 0.5, 0.5, 0.5]


async def test_a_lap_begins_with_the_closes_before_its_start(clock: Clock) -> None:
    ticks = await first_ticks(replay(clock, {"AAPL": bars(300)}, start=day(200)), BACKFILL_BARS + 1)
    backfill, live = ticks[:-1], ticks[-1]
    assert clock.now == 0.0
    assert all(tick.backfill and tick.as_data()["backfill"] is True for tick in backfill)
    assert [tick.bar_date for tick in backfill] == [day(n) for n in range(100, 200)]
    assert backfill[-1].price == 300.0
    assert (live.bar_date, live.backfill, live.price) == (day(200), False, 300.0)


async def test_by_default_every_symbol_has_a_past_when_a_lap_begins(clock: Clock) -> None:
    held = {"AAPL": bars(300), "FB": bars(300, begin=150)}
    ticks = await first_ticks(replay(clock, held), 200, ["AAPL", "FB"])
    assert next(tick for tick in ticks if not tick.backfill).bar_date == day(150 + LEAD_BARS)
    assert sum(tick.backfill and tick.symbol == "FB" for tick in ticks) == LEAD_BARS


async def test_a_symbol_is_silent_until_its_first_bar(clock: Clock) -> None:
    held = {"AAPL": bars(10), "FB": bars(10, begin=5)}
    ticks = await lap(replay(clock, held, start=FIRST, loop=False), ["AAPL", "FB"])
    assert min(tick.bar_date or FIRST for tick in ticks if tick.symbol == "FB") == day(5)


async def test_the_replay_begins_again_at_the_end(clock: Clock) -> None:
    ticks = await first_ticks(replay(clock, {"AAPL": bars(10)}, start=day(9)), 9 + 4 + 9 + 4)
    assert ticks[13:] == ticks[:13]


async def test_timestamps_of_a_lap_never_repeat(clock: Clock) -> None:
    ticks = await lap(replay(clock, {"AAPL": bars(50)}, loop=False))
    stamps = [tick.timestamp for tick in ticks]
    assert stamps == sorted(set(stamps))


async def test_a_resumed_lap_repeats_no_tick_and_leaves_none_out(clock: Clock) -> None:
    held = {"AAPL": bars(40), "MSFT": bars(40)}
    whole = await lap(replay(clock, held, loop=False), ["AAPL", "MSFT"])
    for cut in range(1, len(whole) + 1):
        after = {tick.symbol: tick.timestamp for tick in whole[:cut]}
        feed = replay(clock, held, loop=False)
        rest = [tick async for tick in feed.ticks(["AAPL", "MSFT"], after)]
        assert rest == whole[cut:]


async def test_a_resumed_replay_goes_on_over_the_turn_of_a_lap(clock: Clock) -> None:
    held = {"AAPL": bars(45), "MSFT": bars(45), "FB": bars(45, begin=20)}
    symbols = list(held)
    lap_length = len(await lap(replay(clock, held, loop=False), symbols))
    two = await first_ticks(replay(clock, held), 2 * lap_length, symbols)
    for cut in range(lap_length - 5, lap_length + 120):
        after = {tick.symbol: tick.timestamp for tick in two[:cut]}
        rest = await first_ticks(replay(clock, held), 2 * lap_length - cut, symbols, after)
        assert rest == two[cut:], cut


@settings(max_examples=30)
@given(st.lists(st.integers(0, 12), min_size=3, max_size=3), st.sampled_from([85, 40]))
async def test_symbols_that_stopped_apart_each_go_on_where_they_were(
    further: list[int], left: int
) -> None:
    """As after a publication of which some Redis shards have taken more than others."""
    clock, held = Clock(), {"AAPL": bars(60), "MSFT": bars(60), "FB": bars(60, begin=20)}
    whole = await lap(replay(clock, held, loop=False), held)
    of = {symbol: [tick for tick in whole if tick.symbol == symbol] for symbol in held}
    # Around the end of the backfill, and later; each up to a week further.
    stops = {symbol: len(of[symbol]) - left + n for symbol, n in zip(held, further, strict=True)}
    after = {symbol: of[symbol][stop - 1].timestamp for symbol, stop in stops.items()}
    feed = replay(clock, held, loop=False)
    rest = [tick async for tick in feed.ticks(list(held), after)]
    for symbol, stop in stops.items():
        assert [tick for tick in rest if tick.symbol == symbol] == of[symbol][stop:]


async def test_a_speed_is_a_clock_that_runs_faster(clock: Clock) -> None:
    times = []
    feed = replay(clock, {"AAPL": bars(3)}, start=FIRST, loop=False, speed=86_400.0)
    async for tick in feed.ticks(["AAPL"]):
        times.append((clock.now, tick.timestamp))
    days = [(moment - times[0][1]).total_seconds() / 86_400 for _, moment in times]
    assert [now for now, _ in times] == pytest.approx(days)
    assert times[4][0] == pytest.approx(1.0)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), 1e9])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(FeedError, match="speed is"):
        Replay(bars={"AAPL": bars(3)}, speed=speed)


async def test_a_replay_resumed_at_its_end_begins_again(clock: Clock) -> None:
    after = {"AAPL": datetime(2008, 1, 10, 21, tzinfo=UTC)}
    ticks = await first_ticks(replay(clock, {"AAPL": bars(10)}), 1, after=after)
    assert ticks[0].backfill


async def test_a_position_before_the_lap_of_these_symbols_is_not_resumed(clock: Clock) -> None:
    held = {"AAPL": bars(300), "FB": bars(300, begin=150)}
    after = {"AAPL": datetime(2008, 2, 1, 21, tzinfo=UTC)}
    feeds = [replay(clock, held), replay(clock, held)]
    fresh = await first_ticks(feeds[0], 200, ["AAPL", "FB"])
    assert await first_ticks(feeds[1], 200, ["AAPL", "FB"], after) == fresh


async def test_a_symbol_that_joins_a_resumed_lap_gets_its_past(clock: Clock) -> None:
    held = {"AAPL": bars(60), "MSFT": bars(60)}
    after = {"AAPL": datetime.combine(day(50), datetime.min.time(), UTC) + timedelta(hours=14.5)}
    ticks = await first_ticks(replay(clock, held), 52, ["AAPL", "MSFT"], after)
    assert [tick.symbol for tick in ticks if tick.backfill] == ["MSFT"] * 50
    assert [(tick.symbol, tick.price) for tick in ticks[50:]] == [("MSFT", 150.0), ("AAPL", 148.0)]


async def test_an_unknown_symbol_is_refused_with_those_available(clock: Clock) -> None:
    feed = replay(clock, {"AAPL": bars(3), "IBM": bars(3)})
    with pytest.raises(FeedError, match="no bars for TSLA; available: AAPL, IBM"):
        await first_ticks(feed, 1, ["IBM", "TSLA"])


async def test_a_start_after_the_end_is_refused(clock: Clock) -> None:
    feed = replay(clock, {"AAPL": bars(3)}, start=date(2020, 1, 1))
    with pytest.raises(FeedError, match="start 2020-01-01 is after the last bar of 2008-01-03"):
        await first_ticks(feed, 1)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(FeedError, match="rate is"):
        Replay(bars={"AAPL": bars(3)}, rate=rate)


async def test_all_five_symbols_of_the_real_data_move_from_the_start(clock: Clock) -> None:
    feed = replay(clock, dict(read_bars(STOCKS).bars))  # type: ignore[arg-type]
    symbols = ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    ticks = await first_ticks(feed, 4 * BACKFILL_BARS + LEAD_BARS + 10, symbols)
    assert [tick.symbol for tick in ticks if not tick.backfill] == symbols * 2
    assert clock.now < 1.0
