"""Counters and histograms of all processes."""

import os
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator

from ara_project.asgi import application
from realtime.broadcast import (
    abroadcast_market_data,
    broadcast_many,
    broadcast_market_data,
    market_data_update,
)
from realtime.delivery import totals as module
from realtime.delivery.latency import EVERY, Latency
from realtime.delivery.sockets import Socket
from realtime.delivery.totals import BUCKETS, SEPARATOR, published_by, totals
from realtime.delivery.updates import Update
from realtime.streams import Stream
from tests.clients import wait_for
from tests.conftest import REDIS
from tests.patience import wait_until
from tests.processes import Valkey


def named(*parts: str) -> int:
    return totals.read().get(SEPARATOR.join(parts), 0)


def test_counts_are_written_soon_and_added(redis_layer: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.05)
    layer: Any = get_channel_layer()
    layer.add_totals({"seen": 40})
    totals.count("seen", by=2)
    wait_until(lambda: layer.read_totals().get("seen") == 42)


def test_counts_wait_while_redis_is_away(settings: Any, valkey: Valkey) -> None:
    config = {"hosts": ["redis://127.0.0.1:1"]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": config}}
    totals.count("seen")
    assert not totals.write(get_channel_layer())
    config = {"hosts": [valkey.url], "prefix": "waited"}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": config}}
    assert named("seen") == 1


def test_a_forked_process_does_not_write_the_counts_of_its_parent(redis_layer: None) -> None:
    totals.count("seen")
    child = os.fork()
    if not child:
        os._exit(len(totals._new))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert named("seen") == 1


def test_a_duration_is_counted_in_its_bucket(each_layer: str) -> None:
    for seconds in (BUCKETS[3], BUCKETS[3] + 0.0001, 60.0):
        totals.observe("slow", seconds, "label")
    assert [named("slow", "label", f"le{index}") for index in (3, 4, len(BUCKETS))] == [1, 1, 1]
    assert named("slow", "label", "sum") == int(BUCKETS[3] * 2e6) + 100 + 60_000_000


def test_published_updates_are_counted_without_repetitions(each_layer: str) -> None:
    update = market_data_update("AAPL", {"price": 1}, id="one")
    with published_by("api"):
        broadcast_many([update, update])
    broadcast_market_data("AAPL", {"price": 2})
    assert named("published", "market-data", "api") == 1
    assert named("published", "market-data", "code") == 1


def test_asynchronous_code_is_counted_as_well(each_layer: str) -> None:
    async def publish() -> None:
        with published_by("feed"):
            await abroadcast_market_data("AAPL", {"price": 1})

    async_to_sync(publish)()
    assert named("published", "market-data", "feed") == 1


class _Reader:
    """A reader that is not a socket, such as the recorder of bars."""

    owner = None

    def deliver(self, update: Update) -> None: ...


def test_readers_inside_the_server_do_not_count_as_sockets(each_layer: str) -> None:
    async def deliver() -> None:
        layer: Any = get_channel_layer()
        latency = getattr(layer, "loop_layer", layer).local.fanout.latency
        update = Update(Stream("market-data", "AAPL"), "epoch", 1, b'{"timestamp":""')
        latency.measure(update, {1: _Reader()})
        assert latency.skip == 0

    async_to_sync(deliver)()


async def test_after_a_burst_the_next_update_is_measured_again() -> None:
    socket, latency = Socket(1000, lambda: None), Latency()
    update = Update(Stream("market-data", "AAPL"), "epoch", 1, b"{}")
    latency.measure(update, {socket: socket})
    assert latency.skip == EVERY - 1

    async def rested() -> bool:
        return latency.skip == 0

    await wait_for(rested)


@pytest.mark.django_db(transaction=True)
async def test_one_in_many_of_a_burst_is_measured(redis_layer: None) -> None:
    socket = WebsocketCommunicator(application, "/ws/market-data/AAPL")
    await socket.connect()
    await socket.receive_json_from(10)
    for price in range(1, 2 * EVERY):
        await abroadcast_market_data("AAPL", {"price": price})
    for _ in range(1, 2 * EVERY):
        assert (await socket.receive_json_from(10))["type"] == "market_data_update"

    def measured() -> int:
        found = totals.read().items()
        return sum(n for name, n in found if name.startswith("delivery") and "le" in name)

    async def some() -> bool:
        return 0 < await sync_to_async(measured, thread_sensitive=False)() < 2 * EVERY

    await wait_for(some)
    await socket.disconnect()
