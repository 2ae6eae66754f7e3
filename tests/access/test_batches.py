import asyncio
from collections.abc import Sequence

import pytest

from realtime.access.batches import MOST, Batches


class Oracle:
    """Doubles numbers; answers when told to, and knows what it was asked together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.was_asked = asyncio.Event()

    async def answer(self, numbers: Sequence[int]) -> Sequence[int | Exception]:
        self.asked.append(list(numbers))
        self.was_asked.set()
        await self.may_answer.wait()
        if 13 in numbers:
            raise OSError("thirteen")
        return [ValueError(number) if number < 0 else number * 2 for number in numbers]


async def test_what_is_asked_in_one_turn_is_answered_together() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer)
    assert await asyncio.gather(*map(batches.ask, range(5))) == [0, 2, 4, 6, 8]
    assert oracle.asked == [[0, 1, 2, 3, 4]]


async def test_what_is_asked_meanwhile_is_the_next_batch() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer)
    oracle.may_answer.clear()
    first = asyncio.create_task(batches.ask(1))
    await oracle.was_asked.wait()
    others = [asyncio.create_task(batches.ask(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    oracle.may_answer.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6]
    assert oracle.asked == [[1], [2, 3]]


async def test_a_crowd_is_answered_in_batches_of_a_bounded_size() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer)
    answers = await asyncio.gather(*map(batches.ask, range(100, 2 * MOST + 101)))
    assert len(answers) == 2 * MOST + 1
    assert [len(batch) for batch in oracle.asked] == [MOST, MOST, 1]


async def test_an_error_of_one_answer_is_for_who_asked() -> None:
    batches = Batches(Oracle().answer)
    good, bad = await asyncio.gather(batches.ask(1), batches.ask(-1), return_exceptions=True)
    assert good == 2
    assert isinstance(bad, ValueError)


async def test_an_error_of_all_is_for_all_and_the_next_batch_is_served() -> None:
    batches = Batches(Oracle().answer)
    for answer in await asyncio.gather(batches.ask(1), batches.ask(13), return_exceptions=True):
        assert isinstance(answer, OSError)
    assert await batches.ask(2) == 4


async def test_who_gives_up_holds_up_nobody() -> None:
    oracle = Oracle()
    batches = Batches(oracle.answer)
    oracle.may_answer.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(batches.ask(1), 0.01)
    oracle.may_answer.set()
    assert await batches.ask(2) == 4
