"""What a stream's own spacing lets expect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.delivery.rhythm import ENOUGH, Rhythm


def learned(*moments: float, floor: float = 1.0, ceiling: float = 1000.0) -> Rhythm:
    rhythm = Rhythm(None, floor=floor, ceiling=ceiling)
    rhythm.learn(moments)
    return rhythm


def regular(every: float, count: int = 20, start: float = 0.0) -> list[float]:
    return [start + number * every for number in range(count)]


def test_a_fixed_interval_is_the_one_that_was_set() -> None:
    rhythm = Rhythm(3.0, floor=5.0, ceiling=10.0)
    for moment in regular(0.1):
        assert not rhythm.is_quiet(moment, moment + 3.0)
    assert rhythm.is_quiet(moment, moment + 3.01)
    assert rhythm.expected == 3.0


def test_twice_the_longest_spacing_is_expected() -> None:
    assert learned(*regular(10)).expected == 20


def test_little_is_expected_of_a_stream_that_is_not_known_yet() -> None:
    rhythm = learned(*regular(10, ENOUGH))
    assert rhythm.expected is None
    assert not rhythm.is_quiet(40.0, 1e9)


@pytest.mark.parametrize(("every", "expected"), [(0.01, 1.0), (700.0, 1000.0)])
def test_floor_and_ceiling_hold(every: float, expected: float) -> None:
    assert learned(*regular(every)).expected == expected


def test_a_stream_that_is_slower_than_the_ceiling_has_no_rhythm() -> None:
    assert learned(*regular(86_400)).expected is None


def test_it_is_learned_by_being_asked_now_and_then() -> None:
    rhythm = Rhythm(None, floor=1.0, ceiling=1000.0)
    for now in range(100):
        assert not rhythm.is_quiet(now - now % 10, now)
    assert rhythm.expected == 20
    assert not rhythm.is_quiet(90, 110)
    assert rhythm.is_quiet(90, 110.5)


def test_a_night_is_no_spacing() -> None:
    rhythm = learned(*regular(10))
    morning = 190.0 + 40_000
    assert rhythm.is_quiet(190.0, morning)
    rhythm.is_quiet(morning, morning)
    assert rhythm.expected == 40


def test_a_stream_that_slows_down_is_understood_after_a_while() -> None:
    rhythm, alarms, now = learned(*regular(1)), 0, 19.0
    for _ in range(20):
        alarms += rhythm.is_quiet(now, now + 29)
        now += 30
        rhythm.is_quiet(now, now)
    assert 0 < alarms <= 5
    assert not rhythm.is_quiet(now, now + 30)


def test_a_long_spacing_is_forgotten() -> None:
    rhythm = learned(*regular(10, 6), *regular(1, 100, start=60.0))
    assert rhythm.expected == pytest.approx(2.0)


@given(st.lists(st.floats(0, 1e6), min_size=7, max_size=50), st.floats(0.1, 10), st.floats(10, 1e4))
def test_what_is_expected_lies_within_the_bounds(
    spacings: list[float], floor: float, ceiling: float
) -> None:
    moments = [sum(spacings[:n]) for n in range(len(spacings))]
    expected = learned(*moments, floor=floor, ceiling=ceiling).expected
    assert expected is None or floor <= expected <= ceiling
