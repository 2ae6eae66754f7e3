"""How many sockets are connected: over all processes, and after one of them was killed."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import redis
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from prometheus_client.parser import text_string_to_metric_families

from ara_project.asgi import application
from realtime.broadcast import abroadcast_market_data
from realtime.connections import LEASE_SECONDS, StatisticsUnavailable, connection_manager
from tests.clients import Socket, wait_for
from tests.conftest import REDIS
from tests.patience import PATIENCE
from tests.processes import LiveServer

Servers = tuple[LiveServer, LiveServer]

SCRAPER = """
from tests import personas
print(personas.scraper_key(name="metrics", scopes=["market-data"]))
"""


@pytest.fixture(scope="module")
def running(module_servers: Callable[..., LiveServer]) -> Servers:
    return module_servers(), module_servers()


@pytest.fixture
def servers(running: Servers, settings: Any) -> Servers:
    """Two processes of one project; this process is a third one, without sockets."""
    hosts = [running[0].environment["REDIS_URL"]]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    return running


@pytest.fixture(scope="module")
def running_key(running: Servers) -> str:
    return running[0].shell(SCRAPER).strip()


@asynccontextmanager
async def connected(*urls: str) -> AsyncIterator[list[Socket]]:
    sockets = [await Socket.open(url) for url in urls]
    for socket in sockets:
        await socket.until("connected")
    try:
        yield sockets
    finally:
        for socket in sockets:
            await socket.leave()


counts = sync_to_async(connection_manager.get_counts, thread_sensitive=False)


async def counts_become(expected: dict[str, int], *, seconds: float = 10.0) -> None:
    async def they_are() -> bool:
        return await counts() == expected

    await wait_for(they_are, seconds=seconds)


async def test_counts_are_true_over_all_processes(servers: Servers) -> None:
    one, two = servers
    assert await connection_manager.aget_connection_count() == 0
    assert await connection_manager.aget_channels() == []
    async with connected(
        f"{one.ws}/ws/predictions/AAPL",
        f"{one.ws}/ws/predictions",
        f"{one.ws}/ws/market-data/AAPL",
        f"{two.ws}/ws/predictions/MSFT",
        f"{two.ws}/ws/alerts",
    ) as (first, *_):
        await counts_become({"predictions": 3, "market-data": 1, "alerts": 1})
        assert await connection_manager.aget_connection_count() == 5
        assert await connection_manager.aget_connection_count("predictions") == 3
        assert await connection_manager.aget_channels() == ["alerts", "market-data", "predictions"]
        await first.leave()
        await counts_become({"predictions": 2, "market-data": 1, "alerts": 1})
    await counts_become({})


async def test_the_customers_synchronous_calls_work_anywhere(
    servers: Servers,
) -> None:
    one, two = servers
    async with connected(f"{one.ws}/ws/predictions/AAPL", f"{two.ws}/ws/market-data/AAPL"):
        await counts_become({"predictions": 1, "market-data": 1})
        # Get total connections
        total = connection_manager.get_connection_count()
        # Get connections for specific channel
        predictions_count = connection_manager.get_connection_count("predictions")
        # Get all active channels
        channels = connection_manager.get_channels()
        assert (total, predictions_count, channels) == (2, 1, ["market-data", "predictions"])
        assert connection_manager.get_connection_count("market_data") == 1
        code = (
            "from realtime.connections import connection_manager as m;"
            "print(m.get_connection_count(), m.get_channels())"
        )
        said = await asyncio.to_thread(one.shell, code)
        assert said == "2 ['market-data', 'predictions']\n"


async def test_any_process_tells_the_metrics_of_all(servers: Servers, running_key: str) -> None:
    one, two = servers
    async with (
        connected(f"{one.ws}/ws/alerts", f"{two.ws}/ws/market-data/METRIC") as (_, reader),
        httpx.AsyncClient(
            headers={"Authorization": f"Api-Key {running_key}"}, timeout=PATIENCE
        ) as api,
    ):
        refused = await Socket.open(f"{two.ws}/ws/alerts?token=ara_wrong")
        await refused.until("error")
        for price in range(3):
            await abroadcast_market_data("METRIC", {"price": price})
            await reader.until("market_data_update")

        async def everything_is_told() -> bool:
            text = (await api.get(f"{one.http}/metrics")).text
            found = samples(text)
            return (
                found["ara_connections", "alerts"] == [1]
                and found["ara_connections", "market-data"] == [1]
                # Those of tests before this one count as well.
                and sum(found["ara_connections_opened_total", "alerts"]) >= 1
                and found["ara_connections_closed_total", "4401"] == [1]
                # `connected` on one process; that and three updates on the other.
                and sorted(found["ara_messages_sent_total", ""])[-1] >= 4
                and found["ara_updates_lost_total", ""] == [0, 0]
                and all(found["ara_process_resident_memory_bytes", ""])
            )

        await wait_for(everything_is_told)
        await refused.leave()


async def test_what_a_command_has_published_is_told_after_its_end(
    servers: Servers, running_key: str
) -> None:
    one, two = servers
    async with (
        connected(f"{two.ws}/ws/predictions/ENDED") as (reader,),
        httpx.AsyncClient(
            headers={"Authorization": f"Api-Key {running_key}"}, timeout=PATIENCE
        ) as api,
    ):
        await asyncio.to_thread(one.manage, "broadcast_prediction", "ENDED", "{}")
        await reader.until("prediction_update")

        async def it_is_told() -> bool:
            found = samples((await api.get(f"{one.http}/metrics")).text)
            by_way = found["ara_updates_published_total", "predictions", "command"]
            measured = found["ara_delivery_latency_seconds_count", "predictions"]
            return by_way == [1] and measured == [1]

        await wait_for(it_is_told)


def samples(text: str) -> dict[tuple[str, str], list[float]]:
    """Values by metric and by label, that of the process left out."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = [text for name, text in sample.labels.items() if name != "process"]
            found[sample.name, *(labels or [""])].append(sample.value)
    return found


async def test_a_server_that_stops_is_counted_no_more_at_once(
    servers: Servers, module_servers: Callable[..., LiveServer]
) -> None:
    two = servers[1]
    one = await asyncio.to_thread(module_servers)
    async with connected(f"{one.ws}/ws/alerts", f"{two.ws}/ws/alerts"):
        await counts_become({"alerts": 2})
        await asyncio.to_thread(one.stop)
        await counts_become({"alerts": 1}, seconds=LEASE_SECONDS / 2)


@pytest.mark.slow
async def test_a_killed_server_is_counted_until_its_lease_ends(
    servers: Servers, module_servers: Callable[..., LiveServer]
) -> None:
    two = servers[1]
    one = await asyncio.to_thread(module_servers)
    async with connected(f"{one.ws}/ws/predictions/AAPL", f"{two.ws}/ws/alerts"):
        await counts_become({"predictions": 1, "alerts": 1})
        await asyncio.to_thread(one.kill)
        await counts_become({"alerts": 1}, seconds=LEASE_SECONDS + 5)
        # The other one has renewed its lease meanwhile.
        assert await connection_manager.aget_channels() == ["alerts"]


@pytest.mark.slow
async def test_counts_come_back_after_redis_lost_them(servers: Servers) -> None:
    one, _ = servers
    async with connected(f"{one.ws}/ws/alerts"):
        await counts_become({"alerts": 1})
        with redis.Redis.from_url(one.environment["REDIS_URL"]) as client:
            client.flushall()
        assert await counts() == {}
        await counts_become({"alerts": 1})


async def test_the_sockets_of_this_process_are_counted_at_once(each_layer: str) -> None:
    before = await connection_manager.aget_connection_count("alerts")
    socket = WebsocketCommunicator(application, "/ws/alerts")
    await socket.connect()
    await socket.receive_json_from(10)
    assert await connection_manager.aget_connection_count("alerts") == before + 1
    await socket.disconnect()
    assert await connection_manager.aget_connection_count("alerts") == before


KEY = """
import json
from tests import personas
key, raw = personas.bob_key()
print(json.dumps([key.pk, raw]))
"""


async def test_the_sockets_of_a_key_are_counted_over_all_processes(servers: Servers) -> None:
    one, two = servers
    pk, raw = json.loads(await asyncio.to_thread(one.shell, KEY))

    async def counted(expected: dict[int, int]) -> None:
        async def they_are() -> bool:
            return await sync_to_async(connection_manager.get_key_counts)() == expected

        await wait_for(they_are)

    async with connected(
        f"{one.ws}/ws/alerts?token={raw}", f"{two.ws}/ws/alerts?token={raw}", f"{two.ws}/ws/alerts"
    ) as (first, _, stranger):
        await counted({pk: 2})
        await counts_become({"alerts": 3})
        await first.leave()
        await stranger.ask("auth", token=raw)
        await counted({pk: 2})
        await counts_become({"alerts": 2})
    await counted({})


@pytest.mark.parametrize("channel", ["", "prediction", "AAPL", "*"])
async def test_an_unknown_channel_is_named_with_those_there_are(channel: str) -> None:
    with pytest.raises(ValueError, match="there are predictions, market-data, alerts") as caught:
        connection_manager.get_connection_count(channel)
    assert repr(channel) in str(caught.value)
    with pytest.raises(ValueError, match="unknown channel"):
        await connection_manager.aget_connection_count(channel)


async def test_redis_away_is_told(settings: Any) -> None:
    hosts = ["redis://127.0.0.1:1"]
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": hosts}}}
    with pytest.raises(StatisticsUnavailable, match="no statistics"):
        connection_manager.get_connection_count()
    with pytest.raises(StatisticsUnavailable):
        await connection_manager.aget_channels()
