from datetime import UTC, datetime
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
