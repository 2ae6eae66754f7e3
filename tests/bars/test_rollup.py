"""Bars of longer intervals, made of stored ones: compared with a roll-up in Python."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.utils import timezone

from realtime.bars.rollup import INTERVALS, RolledBar, Window, read_bars
from realtime.models import Bar

pytestmark = pytest.mark.django_db
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
NOON = MONDAY + timedelta(hours=12)
STEPS = {
    "1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1), "4h": timedelta(hours=4), "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}  # fmt: skip


def store(
    starts: list[datetime], interval: str = "1m", last: timedelta | None = None, seed: int = 1
) -> list[Bar]:
    """Bars with any prices; `last` is how long after its start the last tick of each came."""
    random = Random(seed)
    bars = []
    for start in starts:
        open_, close = (round(random.uniform(90, 110), 2) for _ in range(2))
        bars.append(
            Bar(
                symbol="AAPL", interval=interval, source="x", start=start,
                open=open_, high=max(open_, close) + random.randrange(9), close=close,
                low=min(open_, close) - random.randrange(9), volume=random.randrange(99),
                last_tick_at=None if last is None else start + last,
            )
        )  # fmt: skip
    return Bar.objects.bulk_create(bars)


def read(interval: str, **window: Any) -> list[RolledBar]:
    return read_bars("AAPL", interval, "x", Window(**window))


def rolled(bars: list[Bar], step: timedelta) -> list[tuple[Any, ...]]:
    """The slow way: bars by the start of their interval, counted from a Monday long ago."""
    origin, groups = datetime(1900, 1, 1, tzinfo=UTC), {}
    for bar in sorted(bars, key=lambda bar: bar.start):
        groups.setdefault(bar.start - (bar.start - origin) % step, []).append(bar)
    return [
        (
            start, each[0].open, max(bar.high for bar in each), min(bar.low for bar in each),
            each[-1].close, sum(bar.volume for bar in each),
        )
        for start, each in groups.items()
    ]  # fmt: skip


def values(bars: list[RolledBar]) -> list[tuple[Any, ...]]:
    return [tuple(list(bar.values())[:6]) for bar in bars]


def gappy(count: int, unit: timedelta, start: datetime = MONDAY) -> list[datetime]:
    return [start + n * unit for n in Random(7).sample(range(count * 2), count)]


@pytest.mark.parametrize("interval", INTERVALS)
def test_each_interval_is_what_python_makes_of_the_stored_bars(interval: str) -> None:
    stored = {
        "1m": store(gappy(1500, timedelta(minutes=1))),
        "1d": store(gappy(60, timedelta(days=1)), "1d"),
    }
    parts = stored["1d" if interval in ("1d", "1w") else "1m"]
    expected = rolled(parts, STEPS[interval])
    assert values(read(interval, limit=5000)) == expected
    assert values(read(interval, limit=3)) == expected[-3:]


@pytest.mark.parametrize("year", [1, 1969, 1970, 2024, 9999])
def test_weeks_begin_on_monday_in_any_year(year: int) -> None:
    days = [datetime(year, 12, 1, tzinfo=UTC) + timedelta(days=n) for n in range(31)]
    bars = store(days, "1d")
    read_weeks = read("1w")
    assert {bar["start"].weekday() for bar in read_weeks} == {0}
    assert sum(bar["volume"] for bar in read_weeks) == sum(bar.volume for bar in bars)


@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "4h"])
def test_before_and_after_page_through_all_bars_once(interval: str) -> None:
    store(gappy(900, timedelta(minutes=1)))
    every = values(read(interval, limit=5000))
    back: list[Any] = []
    forth: list[Any] = []
    while page := read(interval, limit=7, before=back[0][0] if back else None):
        back = values(page) + back
    after = every[0][0] - timedelta(seconds=1)
    while page := read(interval, limit=7, after=after):
        forth += values(page)
        after = page[-1]["start"]
    assert back == forth == every


def test_a_time_within_a_bar_leaves_no_part_of_a_bar() -> None:
    store([MONDAY + timedelta(minutes=n) for n in range(30)])
    whole = values(read("5m"))
    assert values(read("5m", before=MONDAY + timedelta(minutes=12))) == whole[:3]
    assert values(read("5m", after=MONDAY + timedelta(minutes=12))) == whole[3:]
    both = read("5m", after=MONDAY, before=MONDAY + timedelta(minutes=10))
    assert values(both) == whole[1:2]


def test_the_ends_of_the_calendar_are_no_fault() -> None:
    store([MONDAY])
    end, begin = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    assert len(read("4h", before=end)) == len(read("4h", after=begin)) == 1
    assert read("4h", after=end) == read("4h", before=begin) == []


# The bar that is being formed -----------------------------------------------------------------


def closed(interval: str) -> list[bool]:
    return [bar["closed"] for bar in read(interval)]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the clock to some time after noon."""

    def set_clock(minutes: int, seconds: int) -> None:
        moment = NOON + timedelta(minutes=minutes, seconds=seconds)
        monkeypatch.setattr(timezone, "now", lambda: moment)

    return set_clock


def test_the_bar_of_now_is_not_closed_until_its_time_is_over(at: Callable[..., None]) -> None:
    at(7, 20)
    store([NOON + timedelta(minutes=n) for n in range(8)], last=timedelta(seconds=20))
    assert closed("5m") == [True, False]
    assert closed("1m")[-2:] == [True, False]
    at(8, 30)
    assert (closed("1m")[-1], closed("5m")[-1]) == (True, False)
    at(10, 30)
    assert (closed("5m")[-1], closed("1h")[-1]) == (True, False)


def test_the_newest_bar_of_a_replay_is_being_formed_in_its_own_time() -> None:
    store([MONDAY, MONDAY + timedelta(days=1)], "1d", last=timedelta(hours=16))
    assert closed("1d") == [True, False]
    assert closed("1w") == [False]
    Bar.objects.update(updated_at=timezone.now() - timedelta(days=30))
    assert closed("1d") == [True, True]


def test_a_late_tick_does_not_open_an_old_bar_again(at: Callable[..., None]) -> None:
    at(7, 20)
    store([NOON + timedelta(minutes=n) for n in range(8)], last=timedelta(seconds=20))
    at(7, 40)
    Bar.objects.get(start=NOON).save()
    assert closed("5m") == [True, False]
