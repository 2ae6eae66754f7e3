"""Signs of life of background workers."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

from realtime import workers
from realtime.delivery.layers import shared_layer
from realtime.delivery.publisher import BackendUnavailable
from realtime.management.background import keep_running, run_reported
from realtime.management.commands.run_background import WORKS
from realtime.retry import Retry, Stopped
from realtime.workers import HUNG_SECONDS, WorkerState, did, read_workers, step
from tests import personas
from tests.clients import wait_for
from tests.conftest import REDIS, NewDatabase
from tests.patience import PATIENCE, STOP_SECONDS, wait_until
from tests.processes import ROOT, Valkey, free_port, process_environment

aread = sync_to_async(read_workers, thread_sensitive=False)


async def seen(condition: Callable[[WorkerState], bool]) -> WorkerState:
    """The one worker that is read, once the condition is true of it."""

    async def found() -> WorkerState | None:
        states = await aread()
        return states[0] if states and condition(states[0]) else None

    state: WorkerState = await wait_for(found, every=0.2)
    return state


async def reported(work: Callable[[], Any]) -> None:
    async def run(stop: asyncio.Event) -> None:
        await work()

    await run_reported("example", run, asyncio.Event())


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "BEAT_SECONDS", 0.05)


async def test_steps_and_lag_are_read_by_others(redis_layer: None) -> None:
    async def work() -> None:
        step(lag=2.5)
        state = await seen(lambda state: state.steps == 1)
        assert (state.worker, state.lag, state.restarts, state.hangs) == ("example", 2.5, 0, False)

    await reported(work)


async def test_what_a_worker_has_handled_is_read_by_others(redis_layer: None) -> None:
    async def work() -> None:
        did(2)
        did(40)
        assert (await seen(lambda state: state.done == 42)).steps == 0

    await reported(work)


async def test_a_worker_that_stops_leaves_nothing_behind(redis_layer: None) -> None:
    await reported(lambda: seen(lambda state: True))
    assert await aread() == []


async def test_a_worker_whose_step_does_not_end_hangs(
    redis_layer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HUNG_SECONDS", 0.3)

    async def work() -> None:
        step()
        state = await seen(lambda state: state.hangs)
        assert state.step_age > 0.3 >= state.seen

    await reported(work)


async def test_a_worker_that_waits_for_work_does_not_hang(
    redis_layer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HUNG_SECONDS", 0.3)

    async def work() -> None:
        step(rest=None)
        assert not (await seen(lambda state: state.step_age > 0.5)).hangs
        step(rest=60.0)
        assert not (await seen(lambda state: state.steps == 2 and state.step_age > 0.5)).hangs

    await reported(work)


async def test_the_notes_of_a_silent_process_grow_old(redis_layer: None) -> None:
    state = WorkerState("run_alerts", "host", 1, 5, 0, 0.0, HUNG_SECONDS + 1, None, 1.0)
    assert not state.hangs
    state = WorkerState("run_alerts", "host", 1, 5, 0, 0.0, 1.0, None, HUNG_SECONDS + 1)
    assert state.hangs


async def test_restarts_are_counted(redis_layer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.management.background.restart_delay", lambda deaths: 0.01)
    stop = asyncio.Event()

    async def bad(stop: asyncio.Event) -> None:
        raise OSError("the disk is full")

    running = asyncio.create_task(keep_running({"bad": bad}, stop))
    assert (await seen(lambda state: state.restarts >= 2)).worker == "bad"
    stop.set()
    await running


async def test_waiting_for_a_backend_is_not_hanging(redis_layer: None) -> None:
    stop = asyncio.Event()

    async def fail() -> None:
        raise BackendUnavailable(OSError("away"))

    async def work() -> None:
        trying = asyncio.create_task(Retry(stop, outages=(BackendUnavailable,)).until_done(fail))
        assert (await seen(lambda state: state.steps >= 2)).worker == "example"
        stop.set()
        with pytest.raises(Stopped):
            await trying

    await reported(work)


async def test_a_worker_goes_on_while_redis_is_away(settings: Any) -> None:
    hosts = [f"redis://127.0.0.1:{free_port()}"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    done = []

    async def work() -> None:
        await asyncio.sleep(0.2)
        done.append(True)

    await asyncio.wait_for(reported(work), PATIENCE)
    assert done
    with pytest.raises(BackendUnavailable):
        await aread()


def test_without_redis_there_are_no_workers() -> None:
    assert read_workers() == []


async def test_notes_of_another_version_are_passed_over(redis_layer: None) -> None:
    layer = shared_layer()
    assert layer is not None
    layer.sync_client.set("asgi:worker:x", b'{"other": 1}', px=60_000)
    layer.sync_client.zadd("asgi:workers", {"x": time.time() + 60})
    assert await aread() == []


@pytest.mark.django_db(transaction=True)
async def test_metrics_tell_of_each_worker(redis_layer: None) -> None:
    headers = {"X-API-Key": await sync_to_async(personas.scraper_key)()}

    async def work() -> None:
        step(lag=2.5)
        await seen(lambda state: state.steps == 1)
        text = (await AsyncClient().get("/metrics", headers=headers)).text
        labels = f'{{process="{socket.gethostname()}:{os.getpid()}",worker="example"}}'
        assert f"ara_worker_lag_seconds{labels} 2.5" in text
        assert f"ara_worker_hangs{labels} 0.0" in text
        assert f"ara_worker_step_age_seconds{labels} " in text

    await reported(work)


# As processes -------------------------------------------------------------------------------------


@pytest.fixture
def background(
    valkey: Valkey, redis_layer: None, tmp_path: Path, new_database: NewDatabase
) -> "Iterator[subprocess.Popen[bytes]]":
    environment = {"REDIS_URL": valkey.url, **new_database(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_background"],
        cwd=ROOT, env=process_environment(tmp_path, environment),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(STOP_SECONDS)


def states() -> dict[str, tuple[bool, bool]]:
    return {each.worker: (each.steps > 0, each.hangs) for each in read_workers()}


@pytest.mark.slow
def test_each_work_of_run_background_steps_and_hangs_with_its_process(
    background: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    well, hung = dict.fromkeys(WORKS, (True, False)), dict.fromkeys(WORKS, (True, True))
    assert wait_until(lambda: states() == well, seconds=60), states()
    assert {each.pid for each in read_workers()} == {background.pid}
    background.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(workers, "HUNG_SECONDS", 4.0)
    assert wait_until(lambda: states() == hung), states()
    monkeypatch.undo()
    background.send_signal(signal.SIGCONT)
    assert wait_until(lambda: states() == well), states()
