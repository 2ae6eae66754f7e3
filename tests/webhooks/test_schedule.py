from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.conf import conf
from realtime.webhooks.schedule import (
    DISABLE_AFTER,
    LONGEST_RETRY_AFTER,
    gives_up,
    next_attempt,
    parse_retry_after,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DELAYS = conf.REALTIME_WEBHOOK_RETRY_DELAYS
HOUR = timedelta(hours=1)


def after(tries: int, *, retry_after: timedelta | None = None, chance: float = 0.0) -> timedelta:
    moment = next_attempt(tries, NOW, delays=DELAYS, retry_after=retry_after, chance=chance)
    assert moment is not None
    return moment - NOW


def test_ten_attempts_take_about_three_days() -> None:
    total = sum((after(tries) for tries in range(1, 10)), timedelta())
    assert timedelta(days=3) < total < timedelta(days=3.5)
    assert next_attempt(10, NOW, delays=DELAYS, retry_after=None, chance=0.5) is None


@given(st.integers(1, 8), st.floats(0, 1), st.floats(0, 1))
def test_delays_grow_whatever_the_jitter(tries: int, chance: float, other: float) -> None:
    assert after(tries, chance=chance) < after(tries + 1, chance=other)


def test_jitter_moves_an_attempt_by_a_tenth() -> None:
    assert after(2, chance=1.0) == after(2) * 1.1


def test_a_receiver_may_ask_for_more_time_but_not_for_more_attempts() -> None:
    assert after(1, retry_after=HOUR) == HOUR
    assert after(9, retry_after=HOUR) == after(9)
    assert next_attempt(10, NOW, delays=DELAYS, retry_after=HOUR, chance=0) is None


def test_a_receiver_may_not_ask_for_a_year() -> None:
    assert after(1, retry_after=timedelta(days=365)) == LONGEST_RETRY_AFTER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("Sun, 01 Mar 2026 12:30:00 GMT", timedelta(minutes=30)),
        ("Sun, 01 Mar 2026 12:30:00 -0000", timedelta(minutes=30)),
        ("Sun, 01 Mar 2026 11:30:00 GMT", timedelta(0)),
        ("Sun, 01 Mar 2099 12:00:00 GMT", LONGEST_RETRY_AFTER),
        ("9" * 4000, LONGEST_RETRY_AFTER),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("Sun, 99 Mar 2026 11:30:00 GMT", None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999999999999", None),
        (f"Wed, {'9' * 5000} Oct 2015 07:28:00 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, expected: timedelta | None) -> None:
    assert parse_retry_after(text, NOW) == expected


@given(st.text())
def test_no_retry_after_raises(text: str) -> None:
    found = parse_retry_after(text, NOW)
    assert found is None or timedelta(0) <= found <= LONGEST_RETRY_AFTER


def test_five_days_without_a_success_are_enough() -> None:
    created = NOW - 2 * HOUR
    assert gives_up(NOW - DISABLE_AFTER, created, NOW)
    assert not gives_up(NOW - DISABLE_AFTER + HOUR, created, NOW)


def test_an_event_that_was_new_just_now_disables_nothing() -> None:
    assert not gives_up(NOW - timedelta(days=30), NOW - timedelta(minutes=5), NOW)
