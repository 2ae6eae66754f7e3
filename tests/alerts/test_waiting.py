"""Updates wait for the engine by symbol, and take turns."""

from realtime.alerts.waiting import MAX_OF_SYMBOL, Waiting
from realtime.delivery.updates import Update
from realtime.streams import Channel, Stream


def update(symbol: str, offset: int, channel: Channel = "market-data") -> Update:
    return Update(Stream(channel, symbol), "e", offset, b"")


def taken(waiting: Waiting) -> list[tuple[str, int, bool]]:
    items = [waiting.take() for _ in range(len(waiting))]
    return [(each.stream.symbol, each.offset, looked) for each, looked in items]


def test_symbols_take_turns_and_each_keeps_its_order() -> None:
    waiting = Waiting()
    for symbol, offset in (("A", 1), ("A", 2), ("A", 3), ("B", 1), ("C", 1), ("C", 2)):
        waiting.add(update(symbol, offset))
    assert [(symbol, offset) for symbol, offset, _ in taken(waiting)] == [
        ("A", 1), ("B", 1), ("C", 1), ("A", 2), ("C", 2), ("A", 3),
    ]  # fmt: skip
    assert not waiting


def test_of_a_symbol_with_too_many_the_newest_waits() -> None:
    waiting = Waiting()
    for offset in range(1, MAX_OF_SYMBOL + 100):
        waiting.add(update("A", offset))
    offsets = [offset for _, offset, _ in taken(waiting)]
    assert offsets == [*range(1, MAX_OF_SYMBOL), MAX_OF_SYMBOL + 99]


def test_a_prediction_is_not_replaced_by_a_price() -> None:
    waiting = Waiting()
    for offset in range(1, MAX_OF_SYMBOL + 1):
        waiting.add(update("A", offset, "predictions"))
    for offset in (1, 2):
        waiting.add(update("A", offset))
    assert [offset for _, offset, _ in taken(waiting)][-2:] == [MAX_OF_SYMBOL, 2]


def test_what_was_missing_comes_first_and_is_not_looked_for_again() -> None:
    waiting = Waiting()
    for offset in (4, 5):
        waiting.add(update("A", offset))
    last, _ = waiting.take()
    waiting.put_first([update("A", 2), update("A", 3), last])
    assert taken(waiting) == [("A", 2, True), ("A", 3, True), ("A", 4, True), ("A", 5, False)]


def test_who_waits_is_known() -> None:
    waiting = Waiting()
    waiting.add(update("A", 1))
    assert ("A" in waiting, "B" in waiting) == (True, False)
    waiting.clear()
    assert ("A" in waiting, len(waiting)) == (False, 0)
