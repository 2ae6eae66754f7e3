from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from realtime.predictions.prices import RecentPrices, gathered


def bar(day: int, price: float, **more: Any) -> dict[str, Any]:
    return {"price": price, "bar_date": f"2008-01-{day:02}", "source": "replay", **more}


def test_updates_without_bars_count_one_by_one() -> None:
    assert gathered([{"price": 1}, {"price": 2.5}, {"price": 2.5}]).closes == [1.0, 2.5, 2.5]


def test_a_bar_counts_once_with_its_latest_price() -> None:
    updates = [bar(2, 10.0), bar(2, 11.0), bar(3, 12.0), bar(3, 9.0), bar(4, 8.0)]
    assert gathered(updates).closes == [11.0, 9.0, 8.0]


def test_a_replay_that_begins_again_leaves_its_past_behind() -> None:
    assert gathered([bar(8, 10.0), bar(9, 11.0), bar(2, 5.0), bar(3, 6.0)]).closes == [5.0, 6.0]


def test_a_price_sent_by_hand_does_not_cost_a_feed_its_past() -> None:
    assert gathered([bar(2, 10.0), {"price": 149.5}, bar(2, 11.0)]).closes == [11.0]


def test_the_source_of_the_newest_update_counts() -> None:
    prices = gathered([bar(2, 10.0), {"price": 149.5, "source": "hand"}])
    assert (prices.closes, prices.source) == ([149.5], "hand")


@pytest.mark.parametrize(
    "price", [None, "149.5", True, 0, -1, float("nan"), float("inf"), 10**400, [1]]
)
def test_an_update_without_a_usable_price_is_passed_over(price: object) -> None:
    assert gathered([{"price": 1.0}, {"price": price}, {"volume": 3}]).closes == [1.0]


def test_the_time_is_that_of_the_last_price() -> None:
    prices = gathered([{"price": 1, "timestamp": "2024-01-01T12:00:00Z"}])
    assert prices.as_of == datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", [None, "yesterday", 5, "0001-01-01T00:00:00+14:00"])
def test_a_price_without_a_usable_time_is_of_now(text: object) -> None:
    before = datetime.now(UTC)
    assert before <= gathered([{"price": 1, "timestamp": text}]).as_of <= datetime.now(UTC)


def test_a_time_without_zone_is_utc() -> None:
    prices = gathered([{"price": 1, "timestamp": "2024-01-01T12:00:00"}])
    assert prices.as_of == datetime(2024, 1, 1, 12, tzinfo=UTC)


def test_a_long_series_keeps_its_newest_prices() -> None:
    prices = RecentPrices()
    for number in range(1, 1502):
        prices.add({"price": number})
    assert (len(prices.closes), prices.closes[-1]) == (1000, 1501.0)


def tick(second: int, price: float) -> dict[str, Any]:
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    return {"price": price, "timestamp": moment.isoformat()}


def test_daily_bars_are_steps_of_a_day_as_long_as_they_take_on_the_calendar() -> None:
    friday, monday = bar(4, 10.0), bar(7, 11.0, timestamp="2008-01-07T21:00:00Z")
    series = gathered([friday, monday]).series()
    assert (series.step, series.spacing) == ("1d", timedelta(days=3))
    assert series.valid_until(2) == datetime(2008, 1, 13, 21, tzinfo=UTC)


def test_updates_with_times_are_rolled_up_to_minutes() -> None:
    updates = [tick(second, second) for second in range(0, 1801, 20)]
    series = gathered(updates).series()
    assert (series.step, series.spacing) == ("1m", timedelta(minutes=1))
    assert series.closes == (*(float(60 * n + 40) for n in range(30)), 1800.0)


def test_too_few_minutes_leave_single_updates() -> None:
    series = gathered([tick(second, 1.0) for second in range(0, 100, 10)]).series()
    assert (series.step, len(series.closes)) == ("update", 10)
    assert series.spacing == timedelta(seconds=10)


def test_updates_of_unknown_times_take_no_known_time() -> None:
    series = gathered([{"price": 1.0}, {"price": 2.0}]).series()
    assert (series.step, series.spacing) == ("update", timedelta(0))
