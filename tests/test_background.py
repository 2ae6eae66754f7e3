"""Several works in one process, each started again by itself."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.backends.signals import connection_created

from realtime.db import in_database, shared_thread
from realtime.management import background
from realtime.management.background import BackgroundCommand, keep_running
from realtime.models import ApiKey
from tests.conftest import NewDatabase
from tests.delivery.waiting import until
from tests.patience import PATIENCE, START_SECONDS, scaled
from tests.processes import ROOT, Valkey, process_environment


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "restart_delay", lambda deaths: 0.01)


async def test_what_fails_begins_again_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop = asyncio.Event()
    begun = {"good": 0, "bad": 0}

    async def good(stop: asyncio.Event) -> None:
        begun["good"] += 1
        await stop.wait()

    async def bad(stop: asyncio.Event) -> None:
        begun["bad"] += 1
        raise OSError("the disk is full")

    running = asyncio.create_task(keep_running({"good": good, "bad": bad}, stop))
    await until(lambda: begun["bad"] >= 3)
    stop.set()
    await asyncio.wait_for(running, PATIENCE)
    assert begun["good"] == 1
    assert "bad ended; it begins again in 0.01 s" in caplog.text
    assert "the disk is full" in caplog.text


async def test_a_bad_configuration_ends_all_of_them() -> None:
    ended = asyncio.Event()

    async def good(stop: asyncio.Event) -> None:
        await stop.wait()
        ended.set()

    async def bad(stop: asyncio.Event) -> None:
        raise ImproperlyConfigured("name the setting")

    with pytest.raises(ImproperlyConfigured, match="name the setting"):
        await asyncio.wait_for(keep_running({"good": good, "bad": bad}, asyncio.Event()), PATIENCE)
    assert ended.is_set()


def test_an_unknown_work_is_named() -> None:
    with pytest.raises(CommandError, match="'nonsense' is not one of record_bars, "):
        call_command("run_background", "--only", "record_bars,nonsense")


async def test_all_of_them_have_ended_when_one_is_misconfigured() -> None:
    ended = asyncio.Event()

    async def slow(stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.sleep(0.05)
        ended.set()

    async def bad(stop: asyncio.Event) -> None:
        raise ImproperlyConfigured("name the setting")

    with pytest.raises(ImproperlyConfigured):
        await keep_running({"slow": slow, "bad": bad}, asyncio.Event())
    assert ended.is_set()


@pytest.mark.django_db(transaction=True)
def test_a_connection_to_the_database_is_kept_from_look_to_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[object] = []

    def note(connection: object, **_: object) -> None:
        opened.append(connection)

    class Command(BackgroundCommand):
        async def run(self, stop: asyncio.Event, **options: Any) -> None:
            for _ in range(5):
                await in_database(ApiKey.objects.count)()
            await shared_thread.close()

    monkeypatch.setattr(background.broadcast, "reaches_other_processes", lambda: True)
    connection_created.connect(note)
    call_command(Command())
    assert len(opened) == 1
    assert connections.settings["default"]["CONN_MAX_AGE"] == 0


# As processes -------------------------------------------------------------------------------------


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Valkey]:
    """One of this test's own, to be paused."""
    with Valkey(tmp_path / "redis", tcp=True) as server:
        yield server


def wait_until_at_work(redis: Valkey) -> None:
    """Four processes read, and the feed publishes."""
    client = redis.client()
    deadline = time.monotonic() + START_SECONDS
    while len(client.client_list(_type="pubsub")) < 4 or not client.keys("asgi:stream:*:meta"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 1.5], ids=["at once", "later"])
def test_sigterm_ends_every_command_while_redis_is_paused(
    redis: Valkey, tmp_path: Path, new_database: NewDatabase, pause: float
) -> None:
    database = new_database(tmp_path)
    environment = process_environment(tmp_path, {"REDIS_URL": redis.url, **database})
    commands = ["run_background", "run_alerts", "record_bars", "watch_freshness", "run_feed"]
    processes = [
        subprocess.Popen([sys.executable, "manage.py", name], cwd=ROOT, env=environment)
        for name in commands
    ]
    try:
        wait_until_at_work(redis)
        redis.signal(signal.SIGSTOP)
        time.sleep(pause)
        for process in processes:
            process.terminate()
        # Three seconds, on a machine that has nothing else to do.
        assert [process.wait(scaled(15)) for process in processes] == [0] * 5
    finally:
        for process in processes:
            process.kill()
            process.wait()


STUCK = """
import asyncio, os, signal, time
from realtime.management import background
background.LAST_SECONDS = 0.5
async def work(stop):
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.to_thread(stuck_for_a_minute)
def stuck_for_a_minute():
    time.sleep(60)
import django; django.setup()
asyncio.run(background.until_told(work))
"""


def test_a_process_that_does_not_end_says_where_it_is_and_ends(tmp_path: Path) -> None:
    environment = {"DJANGO_SETTINGS_MODULE": "ara_project.settings"}
    result = subprocess.run(
        [sys.executable, "-c", STUCK], cwd=ROOT, env=process_environment(tmp_path, environment),
        capture_output=True, text=True, timeout=START_SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "in stuck_for_a_minute" in result.stderr
