"""Several works in one process, each started again by itself."""

import asyncio

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from realtime.management import background
from realtime.management.background import keep_running
from tests.delivery.waiting import until


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
    await asyncio.wait_for(running, 5)
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
        await asyncio.wait_for(keep_running({"good": good, "bad": bad}, asyncio.Event()), 5)
    assert ended.is_set()


def test_an_unknown_work_is_named() -> None:
    with pytest.raises(CommandError, match="'nonsense' is none of record_bars, "):
        call_command("run_background", "--only", "record_bars,nonsense")
