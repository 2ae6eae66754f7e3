"""The rules of rolling up, and that they do not depend on the order in which ticks arrive."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.bars.candles import BarKey, Candle, Candles
from realtime.bars.ticks import InvalidTick, read_price
from realtime.feeds.csv_bars import DailyBar
from realtime.feeds.replay import bar_tick

NOW = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)
NOON = datetime(2024, 1, 2, 11, 58, tzinfo=UTC)
DAY = datetime(2024, 1, 2, tzinfo=UTC)


def tick(seconds: float, price: float, volume: float = 1.0, **data: Any) -> dict[str, Any]:
    """A trade some seconds after 11:58."""
    moment = NOON + timedelta(seconds=seconds)
    return {"price": price, "volume": volume, "timestamp": moment.isoformat(), **data}


def rolled(*updates: dict[str, Any], symbol: str = "BTC-USD") -> dict[BarKey, Candle]:
    candles = Candles()
    for data in updates:
        price = read_price(data, NOW, NOW)
        if price is not None:
            candles.add(symbol, price)
    return candles.take()


def minute(bars: dict[BarKey, Candle], start: datetime = NOON) -> tuple[float, ...]:
    bar = bars[BarKey("BTC-USD", "1m", "", start)]
    return bar.open, bar.high, bar.low, bar.close, bar.volume


def test_ticks_of_a_minute_make_one_bar() -> None:
    bars = rolled(tick(1, 10), tick(2, 12, 3), tick(3, 9), tick(59, 11))
    assert minute(bars) == (10, 12, 9, 11, 6)


def test_each_minute_has_its_bar_and_the_day_has_one() -> None:
    bars = rolled(tick(1, 10), tick(61, 20), tick(100, 30))
    assert minute(bars, NOON + timedelta(minutes=1)) == (20, 30, 20, 30, 2)
    day = bars[BarKey("BTC-USD", "1d", "", DAY)]
    assert (day.open, day.close, day.volume) == (10, 30, 3)
    assert len(bars) == 3


def test_a_late_tick_counts_in_its_own_minute() -> None:
    bars = rolled(tick(5, 10), tick(70, 20), tick(30, 15))
    assert minute(bars) == (10, 15, 10, 15, 2)
    assert minute(bars, NOON + timedelta(minutes=1)) == (20, 20, 20, 20, 1)


def test_a_late_tick_between_two_is_neither_open_nor_close() -> None:
    assert minute(rolled(tick(5, 10), tick(50, 11), tick(20, 15))) == (10, 15, 10, 11, 3)


def test_a_tick_before_the_first_becomes_the_open() -> None:
    assert minute(rolled(tick(5, 10), tick(1, 9)))[0] == 9


def test_of_two_ticks_at_one_moment_the_later_arrival_closes() -> None:
    assert minute(rolled(tick(5, 10), tick(5, 11)))[3] == 11


def test_a_repeated_trade_counts_once() -> None:
    first, other = tick(5, 10, trade_id="7"), tick(5, 10, trade_id="8")
    assert minute(rolled(first, other, first, first))[4] == 2


def test_without_an_id_the_same_tick_at_the_same_moment_is_a_repetition() -> None:
    assert minute(rolled(tick(5, 10), tick(5, 10), tick(6, 10)))[4] == 2


def test_prices_without_a_time_of_their_own_repeat_nothing() -> None:
    data = {"price": 10, "volume": 1}
    start = NOW.replace(second=0)
    assert minute(rolled(data, data), start)[4] == 2


def test_two_sources_do_not_mix() -> None:
    bars = rolled(tick(1, 10, source="a"), tick(2, 20, source="b"))
    assert {(key.source, bar.close) for key, bar in bars.items()} == {("a", 10), ("b", 20)}


def test_data_without_a_price_is_in_no_bar() -> None:
    assert rolled({"bid": 10, "ask": 11}, {"price": None}) == {}


@given(st.permutations(range(12)))
def test_the_order_of_arrival_does_not_matter(order: list[int]) -> None:
    ticks = [tick(n * 11, 10 + (n * 7) % 5, trade_id=str(n)) for n in range(12)]
    assert rolled(*(ticks[n] for n in order)) == rolled(*ticks)


@given(st.lists(st.integers(0, 11), max_size=5), st.integers(0, 100))
def test_parts_taken_at_any_time_join_to_the_whole(cuts: list[int], seed: int) -> None:
    ticks = [tick(n * 11, 10 + (n * 7) % 5, trade_id=str(n)) for n in range(12)]
    random.Random(seed).shuffle(ticks)
    candles, stored = Candles(), dict[BarKey, Candle]()
    for number, data in enumerate(ticks):
        price = read_price(data, NOW, NOW)
        assert price is not None
        candles.add("BTC-USD", price)
        if number in cuts or number == 11:
            for key, part in candles.take().items():
                stored[key] = stored[key].joined(part) if key in stored else part
    assert stored == rolled(*ticks)


# Updates that name their bar --------------------------------------------------------------------


def day_bar(day: date, base: float = 100.0) -> DailyBar:
    return DailyBar(day, base, base + 10, base - 10, base + 5, 1000)


def played(*bars: DailyBar) -> list[dict[str, Any]]:
    return [
        bar_tick("BTC-USD", bars, n, step).as_data() for n in range(len(bars)) for step in range(4)
    ]


def daily(bars: dict[BarKey, Candle], day: date) -> tuple[float, ...]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    bar = bars[BarKey("BTC-USD", "1d", "replay", start)]
    return bar.open, bar.high, bar.low, bar.close, bar.volume


def test_a_replayed_day_is_the_bar_of_its_file() -> None:
    day = date(2010, 5, 3)
    bars = rolled(*played(day_bar(day)))
    assert daily(bars, day) == (100, 110, 90, 105, 1000)
    assert {key.interval for key in bars} == {"1d"}


def test_a_day_so_far_has_the_volume_so_far() -> None:
    day = date(2010, 5, 3)
    assert daily(rolled(*played(day_bar(day))[:2]), day)[4] == 500


def test_a_backfilled_bar_is_whole() -> None:
    tick = bar_tick("BTC-USD", [day_bar(date(2010, 5, 3))], 0, 3, backfill=True).as_data()
    assert daily(rolled(tick), date(2010, 5, 3)) == (100, 110, 90, 105, 1000)


def test_a_bar_told_by_price_alone_grows_tick_by_tick() -> None:
    told = [
        tick(n, price, volume, bar_date="2024-01-02", source="replay")
        for n, (price, volume) in enumerate([(10, 5), (12, 9), (9, 20)])
    ]
    assert daily(rolled(*told), date(2024, 1, 2)) == (10, 12, 9, 9, 20)


def test_the_next_lap_of_a_replay_writes_its_bars_anew() -> None:
    days = [day_bar(date(2010, 5, 3) + timedelta(n)) for n in range(20)]
    lap = played(*days)
    bars = rolled(*lap, *lap[:1])
    assert daily(bars, days[0].day) == (100, 100, 100, 100, 250)
    assert daily(bars, days[1].day) == (100, 110, 90, 105, 1000)
    assert daily(rolled(*lap, *lap[:5]), days[1].day) == (100, 100, 100, 100, 250)


def test_a_late_tick_of_the_day_before_does_not_take_its_close() -> None:
    days = [day_bar(date(2010, 5, 3)), day_bar(date(2010, 5, 4))]
    ticks = played(*days)
    bars = rolled(*ticks[:1], *ticks[2:5], ticks[1])
    assert daily(bars, days[0].day) == (100, 110, 90, 105, 1000)


def test_a_bar_that_was_half_stored_goes_on_after_a_restart() -> None:
    day = date(2010, 5, 3)
    ticks = played(day_bar(day))
    first, second = rolled(*ticks[:2]), rolled(*ticks[2:])
    key = next(iter(first))
    assert daily({key: first[key].joined(second[key])}, day) == (100, 110, 90, 105, 1000)


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"price": float("nan")}, "price: nan is not a finite number"),
        ({"price": float("inf")}, "price: inf is not a finite number"),
        ({"price": 10**400}, "price: inf is not a finite number"),
        ({"price": -1}, "price: -1 is not above zero"),
        ({"price": 0}, "price: 0 is not above zero"),
        ({"price": "12"}, "price: '12' is not a number"),
        ({"price": True}, "price: 'True' is not a number"),
        ({"price": 1, "volume": -2}, "volume: -2 is negative"),
        ({"price": 1, "volume": float("nan")}, "volume: nan is not a finite number"),
        (
            {"price": 1, "timestamp": "2024-01-02T12:01:00Z"},
            "timestamp: 2024-01-02T12:01:00Z is",
        ),
        ({"price": 1, "timestamp": "noon"}, "timestamp: 'noon' is not a time like"),
        ({"price": 1, "timestamp": 1e300}, "timestamp: '1e+300' is not a time like"),
        ({"price": 1, "timestamp": []}, "timestamp: '[]' is not a time like"),
        ({"price": 1, "bar_date": "2024-01-05"}, "bar_date: 2024-01-05 is in the future"),
        ({"price": 1, "bar_date": "today"}, "bar_date: 'today' is not a date"),
        ({"price": 1, "bar_date": 3}, "bar_date: '3' is not a date"),
        ({"price": 1, "bar_date": "2024-01-01", "low": -1}, "low: -1 is not above zero"),
        ({"price": 1, "source": "x" * 65}, "source: must be a text of at most 64"),
        ({"price": 1, "source": 7}, "source: must be a text of at most 64"),
    ],
)
def test_what_is_no_price_of_its_time_is_refused(data: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidTick) as info:
        read_price(data, NOW, NOW)
    assert str(info.value).startswith(says)
    assert info.value.field == says.partition(":")[0]


@pytest.mark.parametrize(
    "timestamp",
    ["2024-01-02T11:58:00Z", "2024-01-02T12:58:00+01:00", "2024-01-02T11:58:00", 1704196680,
     1704196680000],
)  # fmt: skip
def test_a_time_is_read_as_it_is_written_in_the_field(timestamp: object) -> None:
    price = read_price({"price": 1, "timestamp": timestamp}, NOW, NOW)
    assert price is not None
    assert price.moment == NOON


def test_a_clock_that_is_a_little_ahead_is_believed() -> None:
    ahead = (NOW + timedelta(seconds=9)).isoformat()
    assert read_price({"price": 1, "timestamp": ahead}, NOW, NOW) is not None
