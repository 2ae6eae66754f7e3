import asyncio
import contextlib

import pytest

from realtime.cancelling import cancel, cancel_others, run_until
from tests.patience import PATIENCE


async def deaf(times: int) -> str:
    """Loses so many cancellations, as a library may."""
    for _ in range(times):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()
    return "never"


async def test_a_task_that_loses_cancellations_is_cancelled_until_it_ends() -> None:
    tasks = [asyncio.create_task(deaf(times)) for times in (0, 1, 3)]
    await asyncio.sleep(0)
    await asyncio.wait_for(cancel(*tasks, again=0.01), PATIENCE)
    assert all(task.cancelled() for task in tasks)


async def test_a_cleanup_that_awaits_is_not_cut_short() -> None:
    cleaned = asyncio.Event()

    async def careful() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    task = asyncio.create_task(careful())
    await asyncio.sleep(0)
    await cancel(task, again=10)
    assert cleaned.is_set()


def test_no_other_task_is_left() -> None:
    async def main() -> list[asyncio.Task[str]]:
        tasks = [asyncio.create_task(deaf(times)) for times in (0, 1)]
        await asyncio.sleep(0)
        await cancel_others()
        return tasks

    assert all(task.cancelled() for task in asyncio.run(main()))


async def test_work_is_given_time_to_end_by_itself() -> None:
    stop, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await stop.wait()
        await asyncio.sleep(0.05)
        ended.set()

    stop.set()
    await run_until(stop, work(), grace=10)
    assert ended.is_set()


async def test_work_that_does_not_look_at_its_stop_is_cancelled() -> None:
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(run_until(stop, deaf(1), grace=0.01), PATIENCE)


async def test_an_error_of_work_is_raised() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_until(asyncio.Event(), work())
