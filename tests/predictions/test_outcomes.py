"""When the price that a prediction was about is known, and which one it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from realtime.predictions.outcomes import GRACE, LATEST, Close, Wait

NOW = datetime(2024, 6, 3, 12, tzinfo=UTC)  # ours
MARKET = datetime(2008, 1, 2, 16, 40, tzinfo=UTC)  # a Wednesday, in a replay
DAY, MINUTE, SECOND = timedelta(days=1), timedelta(minutes=1), timedelta(seconds=1)


def replayed(**changes: Any) -> Wait:
    return Wait(**{"as_of": MARKET, "made_at": NOW, "horizon": 2, "step": "1d", **changes})


def live(**changes: Any) -> Wait:
    return Wait(**{"as_of": NOW, "made_at": NOW, "horizon": 2, "step": "1m", **changes})


def days(*written: int | None, closes: str = "abcdefgh") -> list[Close]:
    """Bars of the days after the prediction, written so many seconds after it; None: before it."""
    midnight = MARKET.replace(hour=0, minute=0)
    return [
        Close(midnight + n * DAY, ord(closes[n - 1]), NOW + (-1 if at is None else at) * SECOND)
        for n, at in enumerate(written, start=1)
    ]


def test_the_price_is_the_close_at_the_horizon_once_a_later_bar_is_there() -> None:
    assert replayed().price(days(1, 2, 3), NOW) == ord("b")


def test_a_bar_that_is_the_newest_is_still_open() -> None:
    assert replayed().price(days(1, 2), NOW) is None
    assert replayed().price(days(1), NOW) is None
    assert replayed().price([], NOW) is None


def test_bars_of_an_earlier_lap_are_no_outcome() -> None:
    assert replayed().price(days(None, None, None, None), NOW) is None
    assert replayed().price(days(1, None, None, None), NOW) is None


def test_a_bar_of_this_lap_is_open_while_all_later_ones_are_of_an_earlier_lap() -> None:
    assert replayed().price(days(1, 2, None, None), NOW) is None
    assert replayed().price(days(1, 2, 3, None), NOW) == ord("b")


def test_a_bar_that_is_written_anew_is_open_though_a_later_one_was_written_once() -> None:
    assert replayed().price(days(11, 12, 3, 4), NOW) is None


def test_a_replay_that_was_moved_elsewhere_leaves_its_predictions_open() -> None:
    far = [Close(bar.start + 400 * DAY, bar.close, bar.written_at) for bar in days(1, 2, 3)]
    assert replayed().price(far, NOW) is None


def test_days_without_trading_do_not_count() -> None:
    thursday, friday, monday = days(1, 2, 3)
    monday = Close(monday.start + 2 * DAY, monday.close, monday.written_at)
    tuesday = Close(monday.start + DAY, 1.0, NOW + 4 * SECOND)
    bars = [thursday, friday, monday, tuesday]
    assert replayed(horizon=3).price(bars, NOW) == monday.close


def test_with_prices_of_the_present_a_bar_is_complete_when_its_time_is_over() -> None:
    bars = [Close(NOW + n * MINUTE, float(n), NOW + n * MINUTE) for n in (1, 2)]
    end = NOW + 3 * MINUTE
    assert live().price(bars, end) is None
    assert live().price(bars, end + GRACE) == 2.0


def test_an_old_day_is_not_over_because_ours_is() -> None:
    assert replayed().price(days(1, 2), NOW + 100 * DAY) is None


def test_a_replay_is_looked_at_at_once_and_the_present_when_the_horizon_may_have_passed() -> None:
    assert replayed().first_look() == NOW
    assert live().first_look() == NOW + 2 * MINUTE


@pytest.mark.parametrize(
    ("waited", "pause"),
    [(0 * SECOND, SECOND), (10 * SECOND, SECOND), (100 * SECOND, 10 * SECOND), (20 * DAY, LATEST)],
)
def test_looks_are_further_apart_the_longer_it_takes(waited: timedelta, pause: timedelta) -> None:
    assert replayed().next_look(NOW + waited) == NOW + waited + pause


def test_a_prediction_of_single_updates_is_never_looked_at() -> None:
    assert live(step="update").first_look() is None


def test_what_never_comes_is_given_up_long_after_its_horizon() -> None:
    assert replayed().next_look(NOW + 36 * DAY) is not None
    assert replayed().next_look(NOW + 37 * DAY) is None
    assert replayed(horizon=300).next_look(NOW + 900 * DAY) is not None
