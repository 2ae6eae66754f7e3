"""The bookkeeping that other tests rely on finds what it is there to find."""

from typing import Any

import pytest

from tests.checker import Checker


def joined(offset: int, epoch: str = "e", **more: Any) -> dict[str, Any]:
    info = {"epoch": epoch, "offset": offset, **more}
    return {"type": "subscribed", "streams": {"AAPL": info}}


def update(offset: int, **more: Any) -> dict[str, Any]:
    return {"type": "market_data_update", "symbol": "AAPL", "offset": offset, **more}


def checker(*messages: dict[str, Any]) -> Checker:
    result = Checker()
    for message in messages:
        result.feed(message)
    return result


def test_a_snapshot_and_what_follows_it_is_complete() -> None:
    client = checker(joined(4), update(4, snapshot=True), update(5), update(6))
    client.assert_complete()
    assert client.since() == {"AAPL": {"epoch": "e", "offset": 6}}
    assert client.received("AAPL") == [4, 5, 6]


def test_a_jump_is_missed() -> None:
    client = checker(joined(4), update(5), update(8))
    with pytest.raises(AssertionError, match="missed without a word: AAPL 6-7"):
        client.assert_complete()


def test_a_folded_update_covers_the_jump() -> None:
    client = checker(joined(4), update(5), update(8, folded=2))
    client.assert_complete()
    assert client.folded == 2


def test_a_fold_that_is_too_small_is_missed() -> None:
    assert checker(joined(4), update(8, folded=2)).missed == {("AAPL", "e", 5)}


def test_the_same_offset_twice_is_seen() -> None:
    client = checker(joined(4), update(5), update(5))
    with pytest.raises(AssertionError, match="seen twice: AAPL 5"):
        client.assert_complete()


def test_a_replay_fills_what_was_missed_between_two_connections() -> None:
    client = checker(joined(4), update(5), joined(7, recovered=True, replayed=2), update(6))
    client.feed(update(7))
    client.assert_complete()


def test_a_replay_that_leaves_one_out_is_missed() -> None:
    client = checker(joined(4), update(5), joined(7, recovered=True, replayed=1), update(7))
    assert client.missed == {("AAPL", "e", 6)}


def test_what_is_not_recovered_was_told() -> None:
    client = checker(joined(4), joined(9, recovered=False), update(9, snapshot=True), update(10))
    client.assert_complete()
    assert client.told_lost == {("AAPL", "e", n) for n in range(5, 9)}


def test_a_snapshot_that_does_not_come_is_missed() -> None:
    client = checker(joined(4), joined(9, recovered=False), update(10))
    assert client.missed == {("AAPL", "e", 9)}


def test_another_epoch_starts_anew() -> None:
    client = checker(joined(4), joined(2, "f", recovered=False), update(2, snapshot=True))
    client.feed(update(3))
    client.assert_complete()
    assert client.received("AAPL") == [2, 3]


def test_a_gap_is_told_and_not_missed() -> None:
    gap = {"type": "gap", "symbol": "AAPL", "from_offset": 5, "to_offset": 7, "epoch": "e"}
    client = checker(joined(4), gap, update(8))
    client.assert_complete()
    assert client.told_lost == {("AAPL", "e", n) for n in (5, 6, 7)}


def test_a_head_beyond_ones_own_offset_is_a_lost_tail() -> None:
    client = checker(joined(4), {"type": "ping", "heads": {"AAPL": 6}})
    with pytest.raises(AssertionError, match="lost tails"):
        client.assert_complete()
    client.feed(joined(6, recovered=True, replayed=2))
    client.feed(update(5))
    client.feed(update(6))
    client.feed({"type": "ping", "heads": {"AAPL": 6}})
    client.assert_complete()
