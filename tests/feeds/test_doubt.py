from datetime import UTC, datetime

import pytest

from realtime.feeds.doubt import SECONDS, Doubt
from realtime.feeds.ticks import Tick

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def tick(id: int, price: float, symbol: str = "AAPL") -> Tick:
    return Tick(symbol, price, 1.0, NOW, "mine", id=str(id))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.doubt = Doubt(lambda: self.now)

    def take(self, *ticks: Tick) -> list[str | None]:
        return [free.id for each in ticks for free in self.doubt.take(each)]

    def due(self, seconds: float) -> list[str | None]:
        self.now += seconds
        return [free.id for free in self.doubt.due()]


def test_trades_near_the_last_one_are_told_at_once() -> None:
    clock = Clock()
    assert clock.take(tick(1, 100), tick(2, 109), tick(3, 119), tick(4, 109)) == [
        "1",
        "2",
        "3",
        "4",
    ]
    assert clock.doubt.wait is None


def test_a_jump_waits_and_what_comes_after_it_waits_behind_it() -> None:
    clock = Clock()
    assert clock.take(tick(1, 100), tick(2, 10), tick(3, 100), tick(4, 50, "MSFT")) == ["1", "4"]
    assert clock.doubt.wait == SECONDS
    assert clock.due(SECONDS / 2) == []
    assert clock.due(SECONDS / 2) == ["2", "3"]
    assert clock.take(tick(5, 100)) == ["5"]


def test_the_next_trade_confirms_a_jump() -> None:
    clock = Clock()
    assert clock.take(tick(1, 100), tick(2, 50), tick(3, 51), tick(4, 52)) == ["1", "2", "3", "4"]


def test_one_that_is_taken_back_was_never_told_of() -> None:
    clock = Clock()
    clock.take(tick(1, 100), tick(2, 10), tick(3, 101))
    assert [free.id for free in clock.doubt.withdraw("AAPL", "2") or []] == ["3"]
    assert clock.due(SECONDS) == []


@pytest.mark.parametrize("id", ["1", "9"])
def test_one_that_is_not_held_cannot_be_taken_back(id: str) -> None:
    clock = Clock()
    clock.take(tick(1, 100), tick(2, 10))
    assert clock.doubt.withdraw("AAPL", id) is None
    assert clock.doubt.withdraw("MSFT", "2") is None


def test_what_is_no_price_is_not_held() -> None:
    clock = Clock()
    assert clock.take(tick(1, 100), tick(2, -1), tick(3, float("nan"))) == ["1", "2", "3"]
