"""Stale and fresh in one process; through both layers; and over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from pytest_django import Settings

from realtime.broadcast import abroadcast_market_data
from realtime.connections import connection_manager
from realtime.delivery import staleness as module
from realtime.delivery.fanout import Fanout
from realtime.delivery.follow import follow_status
from tests.clients import Socket, wait_for
from tests.delivery.memory import MemoryHistory
from tests.delivery.test_fanout import joined, publish, quiet
from tests.delivery.updates import AAPL, EVERY, MSFT
from tests.delivery.waiting import until
from tests.live import publish_to
from tests.patience import PATIENCE
from tests.processes import LiveServer

EXPECTED = 0.2


@pytest.fixture
def _quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REALTIME_EXPECTED_INTERVAL = {"market-data": EXPECTED, "predictions": EXPECTED}
    settings.REALTIME_EXPECTED_INTERVAL_FLOOR = EXPECTED
    monkeypatch.setattr(module, "TICK", 0.02)


@pytest.fixture
async def history() -> MemoryHistory:
    return MemoryHistory()


@pytest.fixture
async def fanout(history: MemoryHistory, _quick: None) -> AsyncIterator[Fanout]:
    fanout = Fanout(history)
    yield fanout
    fanout.close()


async def test_a_quiet_stream_is_told_stale_once_and_fresh_once(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 1, fanout=fanout)
    began = time.monotonic()
    await until(lambda: reader.states)
    assert time.monotonic() - began >= EXPECTED
    await asyncio.sleep(2 * EXPECTED)
    assert reader.states == [("AAPL", "stale")]
    publish(history, 1, fanout=fanout)
    assert reader.states == [("AAPL", "stale"), ("AAPL", "fresh")]
    assert reader.events[-1] == ("update", 2)


async def test_a_stream_that_goes_on_is_never_stale(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    for _ in range(30):
        publish(history, 1, fanout=fanout)
        await asyncio.sleep(EXPECTED / 10)
    assert reader.states == []


async def test_a_stream_that_has_had_no_update_is_not_stale(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    await asyncio.sleep(2 * EXPECTED)
    assert reader.states == []


async def test_one_who_joins_a_stale_stream_is_told_with_the_start(
    fanout: Fanout, history: MemoryHistory
) -> None:
    await joined(fanout)
    publish(history, 1, fanout=fanout)
    state = fanout.state(AAPL)
    await until(lambda: state.stale)
    status = fanout.start(state, None, 300).status
    assert status is not None
    assert b'"state":"stale"' in status
    assert b'"expected_every":0.2' in status
    publish(history, 1, fanout=fanout)
    assert fanout.start(state, None, 300).status is None


async def test_a_process_that_has_just_started_knows_how_old_the_last_update_is(
    fanout: Fanout, history: MemoryHistory
) -> None:
    publish(history, 3)
    await asyncio.sleep(EXPECTED)
    reader = await joined(fanout)
    began = time.monotonic()
    await until(lambda: reader.states == [("AAPL", "stale")])
    assert time.monotonic() - began < EXPECTED


async def test_a_stream_that_is_quiet_from_the_start_is_known_by_its_history(
    fanout: Fanout, history: MemoryHistory, settings: Settings
) -> None:
    settings.REALTIME_EXPECTED_INTERVAL = {"market-data": 0.0}
    publish(history, 10)
    reader = await joined(fanout)
    await until(lambda: reader.states == [("AAPL", "stale")])
    assert fanout.state(AAPL).rhythm.expected == EXPECTED  # type: ignore[union-attr]


async def test_a_history_that_cannot_be_asked_is_asked_again(
    fanout: Fanout, history: MemoryHistory, settings: Settings
) -> None:
    settings.REALTIME_EXPECTED_INTERVAL = {"market-data": 0.0}
    publish(history, 10)
    reader = await joined(fanout)
    history.broken = True
    await asyncio.sleep(2 * EXPECTED)
    history.broken = False
    await until(lambda: reader.states == [("AAPL", "stale")])


# Beside a backend that is away -------------------------------------------------------------------


async def test_a_backend_that_returns_makes_no_quiet_stream_fresh(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 1, fanout=fanout)
    fanout.tell_stale([AAPL.group], "backend_unavailable")
    await asyncio.sleep(2 * EXPECTED)
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    # The second one says that it is the stream itself: it has no reason.
    assert reader.states == [("AAPL", "stale"), ("AAPL", "stale")]
    assert fanout.state(AAPL).reason == ""


async def test_a_stream_that_is_stale_already_is_not_told_of_the_backend(
    fanout: Fanout, history: MemoryHistory
) -> None:
    reader = await joined(fanout)
    publish(history, 1, fanout=fanout)
    await until(lambda: reader.states)
    fanout.tell_stale([AAPL.group], "backend_unavailable")
    fanout.resync_all([AAPL.group])
    await quiet(fanout)
    assert reader.states == [("AAPL", "stale")]


async def test_what_is_read_late_is_as_old_as_it_is(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    fanout.tell_stale([AAPL.group], "backend_unavailable")
    publish(history, 2)
    await asyncio.sleep(2 * EXPECTED)
    fanout.resync_all([AAPL.group])
    await until(lambda: reader.offsets == [1, 2])
    await asyncio.sleep(EXPECTED / 2)
    assert reader.states == [("AAPL", "stale"), ("AAPL", "stale")]


async def test_the_watch_ends_with_the_streams(fanout: Fanout, history: MemoryHistory) -> None:
    reader = await joined(fanout)
    fanout.leave(AAPL, reader)
    fanout.forget(AAPL.group)
    await until(lambda: fanout.freshness._timer is None)
    await joined(fanout)
    assert fanout.freshness._timer is not None


def test_alerts_come_when_they_come() -> None:
    assert module.rhythm_for("alerts") is None


def test_a_look_at_many_streams_takes_little(history: MemoryHistory) -> None:
    fanout = Fanout(history)
    for number in range(10_000):
        state = fanout.state(type(AAPL)("market-data", f"S{number}"))
        state.heard = 1000.0
    fanout.freshness.look(1000.0)
    began = time.process_time()
    fanout.freshness.look(1000.5)
    assert time.process_time() - began < 0.1  # of 500 ms between two; it takes about 3


# Readers inside the server ------------------------------------------------------------------------


@pytest.fixture
async def layer(each_layer: str, _quick: None) -> AsyncIterator[None]:
    yield
    await get_channel_layer().flush()  # type: ignore[union-attr]


@pytest.mark.usefixtures("layer")
async def test_a_reader_hears_when_a_stream_goes_stale_and_comes_back() -> None:
    async with aclosing(follow_status([AAPL])) as items, asyncio.timeout(PATIENCE):
        reading = asyncio.create_task(anext(items))
        await asyncio.sleep(0.05)
        await abroadcast_market_data("AAPL", {"price": 1})
        stale = await reading
        assert (stale.stale, stale.expected_every, stale.reason) == (True, EXPECTED, "")
        assert stale.last_update is not None
        await abroadcast_market_data("AAPL", {"price": 2})
        assert not (await anext(items)).stale


@pytest.mark.usefixtures("layer")
async def test_states_of_every_symbol_are_followed_without_their_updates() -> None:
    for symbol in ("AAPL", "MSFT"):
        await abroadcast_market_data(symbol, {"price": 1})
    async with aclosing(follow_status([EVERY])) as items, asyncio.timeout(PATIENCE):
        found = {(await anext(items)).stream for _ in range(2)}
        assert found == {AAPL, MSFT}


# Over real sockets --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(module_servers: Callable[..., LiveServer]) -> LiveServer:
    return module_servers(REALTIME_EXPECTED_INTERVAL_FLOOR="0.5")


async def test_a_symbol_that_stops_is_stale_within_its_interval_plus_one_second(
    server: LiveServer, settings: Settings
) -> None:
    publish_to(server, settings)
    reader = await Socket.open(f"{server.ws}/ws/market-data/STOPS")
    await reader.until("connected")
    for price in range(1, 13):
        await abroadcast_market_data("STOPS", {"price": price})
        stopped = time.monotonic()
        await reader.until("market_data_update", data={"price": price})
        await asyncio.sleep(0.2)
    status = await reader.until("stream_status")
    silence = time.monotonic() - stopped
    assert status["state"] == "stale"
    assert 0.5 <= status["expected_every"] <= silence <= status["expected_every"] + 1.0
    await check_newcomers(server, status)
    await wait_for(lambda: stale_in_the_statistics("STOPS"))
    await abroadcast_market_data("STOPS", {"price": 99})
    fresh = await reader.until("stream_status")
    assert fresh["state"] == "fresh"
    assert fresh["last_update"] > status["last_update"]
    assert len(reader.of_type("stream_status")) == 2
    await reader.leave()


async def stale_in_the_statistics(symbol: str) -> bool:
    streams = await sync_to_async(connection_manager.get_stale_streams)()
    return symbol in streams.get("market-data", [])


async def check_newcomers(server: LiveServer, status: dict[str, Any]) -> None:
    """A client that joins or resumes now is told, after `connected` and the snapshot."""
    joined = await Socket.open(f"{server.ws}/ws/market-data/STOPS")
    told = await joined.until("stream_status")
    kinds = [message["type"] for message in joined.seen]
    assert kinds == ["connected", "market_data_update", "stream_status"]
    assert (told["state"], told["expected_every"]) == ("stale", status["expected_every"])
    position = joined.seen[0]["streams"]["STOPS"]
    since = {"STOPS": {"epoch": position["epoch"], "offset": position["offset"] - 1}}
    await joined.ask("subscribe", symbols=["STOPS"], since=since)
    assert (await joined.until("stream_status"))["state"] == "stale"
    await joined.leave()
