"""REALTIME_PREDICTION_RUNNER=celery: a real server, and a real worker that computes for it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from realtime.broadcast import abroadcast_many, market_data_update
from tests.clients import Socket
from tests.live import publish_to
from tests.processes import LiveServer
from tests.test_tasks import Worker

Start = Callable[..., LiveServer]


@pytest.fixture(scope="module")
def asking_server(module_servers: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that leaves the computing to workers, and one worker."""
    server = module_servers(
        REALTIME_PREDICTION_RUNNER="celery", REALTIME_PREDICTION_TIMEOUT="5"
    )  # fmt: skip
    environment = {**server.environment, "VAR_DIR": str(server.directory)}
    worker = Worker(tmp_path_factory.mktemp("worker"), environment, pool="prefork")
    worker.wait_for(r"\S+@test ready")
    yield server, worker
    worker.stop()


@pytest_asyncio.fixture
async def client(asking_server: tuple[LiveServer, Worker]) -> AsyncIterator[Socket]:
    client = await Socket.open(f"{asking_server[0].ws}/ws/predictions/AAPL")
    await client.until("connected")
    yield client
    await client.leave()


async def publish(server: LiveServer, settings: Any, count: int) -> None:
    publish_to(server, settings)
    prices = [100 + n % 7 for n in range(count)]
    await abroadcast_many([market_data_update("AAPL", {"price": price}) for price in prices])


async def test_a_worker_computes_and_stores_what_a_socket_asks_for(
    asking_server: tuple[LiveServer, Worker], client: Socket, settings: Any
) -> None:
    await publish(asking_server[0], settings, 60)
    for horizon in (5, 6):
        answer = await client.ask("request_prediction", horizon=horizon)
        message = await client.until("prediction_update", request_id=answer["request_id"])
        assert message["data"]["horizon"] == horizon
        assert message["data"]["prediction_id"]
    assert "Traceback" not in asking_server[1].log


async def test_why_there_is_none_comes_back_from_the_worker(
    asking_server: tuple[LiveServer, Worker], client: Socket
) -> None:
    await client.ask("request_prediction", symbol="NONE")
    error = await client.until("error")
    assert (error["code"], error["details"]["reason"]) == ("prediction_failed", "unknown_symbol")


async def test_without_a_worker_the_time_limit_ends_it(start_server: Start, tmp_path: Path) -> None:
    server = start_server(
        REALTIME_PREDICTION_RUNNER="celery", REALTIME_PREDICTION_TIMEOUT="0.3"
    )  # fmt: skip
    client = await Socket.open(f"{server.ws}/ws/predictions/AAPL")
    await client.send("request_prediction")
    error = await client.until("error")
    assert (error["code"], error["details"]["reason"]) == ("prediction_failed", "timeout")
    await client.leave()
