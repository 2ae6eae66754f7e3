"""Batches questions that arrive together: one thread hop and one query answer them all."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

MOST: Final = 200
# Seconds for which a batch is gathered. Per question, a batch of 5 costs twice as much as a batch
# of 50, and a client that connects in a crowd waits longer than this for the others anyway.
GATHER_SECONDS: Final = 0.03


class Batches(Generic[Question, Answer]):
    """For one event loop. `answer` takes up to MOST questions and answers each, in order.

    A question that comes alone is answered at once; those that come while an answer is on its way
    are the next batch, together with those of the next GATHER_SECONDS. An exception as an answer is
    raised to its caller; one that `answer` raises, to every caller of the batch.
    """

    def __init__(
        self, answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | Exception]]]
    ) -> None:
        self._answer = answer
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((question, future))
        if self._task is None:
            # A context of its own: in the context of the first caller, it would end with that
            # caller's request.
            self._task = loop.create_task(self._work(), context=contextvars.Context())
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                # A client that has left meanwhile needs no answer.
                batch = [(question, future) for question, future in batch if not future.done()]
                if batch:
                    await self._serve(batch)
                if 1 < len(self._waiting) < MOST:
                    await asyncio.sleep(GATHER_SECONDS)
        finally:
            self._task = None

    async def _serve(self, batch: "Sequence[tuple[Question, asyncio.Future[Answer]]]") -> None:
        try:
            answers = await self._answer([question for question, _ in batch])
        except Exception as exc:
            answers = [exc] * len(batch)
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
