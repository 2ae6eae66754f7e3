"""The Celery tasks: a real worker process, and a broker that is there, away, or hangs."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from realtime import broadcast, tasks
from realtime.broadcast import InvalidUpdate, PublishFailed
from tests.clients import Socket
from tests.conftest import REDIS
from tests.patience import PATIENCE, START_SECONDS, STOP_SECONDS
from tests.processes import ROOT, LiveServer, Valkey, process_environment, run_manage

NOBODY = "redis://127.0.0.1:1"
uvicorn = pytest.mark.parametrize("server", ["uvicorn"], indirect=True)


class Worker:
    """A Celery worker process as `make run` starts it, and its log."""

    def __init__(
        self, directory: Path, environment: dict[str, str], *, pool: str = "solo", name: str = "w"
    ) -> None:
        self.log_path = directory / f"worker-{name}.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "--app", "ara_project", "worker",
                 "--pool", pool, "--concurrency", "1", "--loglevel", "INFO",
                 "--include", "tests.worker_tasks", "--hostname", f"{name}@test",
                 "--without-mingle", "--without-gossip", "--without-heartbeat"],
                cwd=ROOT, env=process_environment(directory, environment),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """With the processes of its pool, as a machine that fails does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first place in the log that matches."""
        deadline = time.monotonic() + START_SECONDS
        while (match := re.search(pattern, self.log)) is None:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return match

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextlib.contextmanager
def running_worker(directory: Path, environment: dict[str, str]) -> Iterator[Worker]:
    """A worker with Celery's default pool, whose exceptions pass from one process to another."""
    worker = Worker(directory, environment, pool="prefork")
    try:
        worker.wait_for(r"\S+@test ready")
        yield worker
    finally:
        worker.stop()


@uvicorn
async def test_delay_reaches_a_client_through_a_worker(server: LiveServer, tmp_path: Path) -> None:
    clients = [
        await Socket.open(f"{server.ws}/ws/{path}")
        for path in ("market-data/TASK", "predictions/TASK", "alerts")
    ]
    for client in clients:
        await client.until("connected")
    code = (
        "from datetime import UTC, datetime; from decimal import Decimal\n"
        "from realtime.tasks import *\n"
        "at = datetime(2024, 1, 1, 12, tzinfo=UTC)\n"
        "broadcast_market_data.delay('task', {'price': Decimal('149.50'), 'timestamp': at})\n"
        "broadcast_prediction_update.delay(symbol='TASK', prediction_data={'confidence': 0.85})\n"
        "send_alert.delay({'message': 'Price exceeded $150'})\n"
        "send_alert.delay(alert_data={'message': 'not for you'}, user_id=1)\n"
        "broadcast_market_data.delay('TASK', {'price': float('nan')})\n"
        "broadcast_market_data.delay('TASK', {'price': 150})\n"
    )
    environment = {**server.environment, "VAR_DIR": str(server.directory)}
    worker_start = asyncio.to_thread(Worker, tmp_path, environment)
    _, worker = await asyncio.gather(asyncio.to_thread(server.shell, code), worker_start)
    try:
        market, prediction, alert = [
            await from_worker(client, kind)
            for client, kind in zip(
                clients, ("market_data_update", "prediction_update", "alert"), strict=True
            )
        ]
        assert market["data"] == {"price": 149.5, "timestamp": "2024-01-01T12:00:00Z"}
        assert prediction["data"] == {"confidence": 0.85}
        assert alert["data"] == {"message": "Price exceeded $150"}
        # The one between was refused, once and in one line.
        assert (await from_worker(clients[0], "market_data_update"))["data"] == {"price": 150}
        reports = [line for line in worker.log.splitlines() if "gave up" in line]
        assert len(reports) == 1
        assert "market_data.price: nan is not JSON" in reports[0]
        assert "Traceback" not in worker.log
        await clients[2].assert_quiet()
    finally:
        await asyncio.to_thread(worker.stop)
        for client in clients:
            await client.leave()


async def from_worker(client: Socket, kind: str) -> dict[str, Any]:
    """The next message of a kind; the worker may still have to start."""
    for _ in range(int(START_SECONDS / PATIENCE)):
        with contextlib.suppress(TimeoutError):
            return await client.until(kind)
    raise AssertionError(f"no {kind} came")


@pytest.mark.slow
def test_a_task_is_retried_until_redis_is_back(tmp_path: Path, valkey: Valkey) -> None:
    streams = Valkey(tmp_path / "streams", tcp=True)
    environment = {"REDIS_URL": streams.url, "CELERY_BROKER_URL": broker(valkey)}
    with running_worker(tmp_path, environment) as worker:
        result = run_manage(
            tmp_path, "shell", "-v0", "-c",
            "from realtime.tasks import *; broadcast_market_data.delay('AAPL', {'price': 1})",
            **environment,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        worker.wait_for(r"retry: Retry in [\d.]+s: PublishFailed")
        with streams:
            worker.wait_for(r"broadcast_market_data\[\S+\] succeeded in \S+ 1\n")
            with streams.client() as client:
                assert client.xlen("asgi:stream:market-data.AAPL:history") == 1
        assert "gave up" not in worker.log


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of one test."""
    with Valkey(tmp_path / "valkey", tcp=True) as server:
        yield server


@contextlib.contextmanager
def workers(
    count: int, directory: Path, environment: dict[str, str], **options: str
) -> Iterator[list[Worker]]:
    started = [Worker(directory, environment, name=f"w{n}", **options) for n in range(count)]
    try:
        for worker in started:
            worker.wait_for(r"\S+@test ready")
        yield started
    finally:
        for worker in started:
            worker.stop()


def enqueue(directory: Path, environment: dict[str, str], code: str) -> None:
    imports = "from realtime.tasks import *; from tests.worker_tasks import *; "
    result = run_manage(directory, "shell", "-v0", "-c", imports + code, **environment)
    assert result.returncode == 0, result.stderr


def wait_until_done(client: Any) -> None:
    """Nothing waits in the queue, and nothing is in a worker's hands."""
    deadline = time.monotonic() + START_SECONDS
    while client.exists("celery", "unacked"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_the_tasks_behind_one_that_was_killed_come_soon(tmp_path: Path, own: Valkey) -> None:
    """They did after an hour, when Celery gave back what the worker had taken in advance."""
    environment = {"REDIS_URL": own.url}
    publish = "[broadcast_market_data.delay('KILLED', {'price': n}) for n in range(3)]"
    with workers(1, tmp_path, environment, pool="prefork") as (worker,), own.client() as client:
        enqueue(tmp_path, environment, f"work_for.delay(600); {publish}")
        worker.wait_for(r"work_for\[\S+\] received")
        while client.llen("celery") + client.hlen("unacked") > 3:
            time.sleep(0.1)
        worker.kill()
    with workers(1, tmp_path, environment), own.client() as client:
        deadline = time.monotonic() + START_SECONDS / 2
        while client.xlen("asgi:stream:market-data.KILLED:history") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
def test_what_a_killed_worker_held_runs_when_its_lease_ends(tmp_path: Path, own: Valkey) -> None:
    environment = {"REDIS_URL": own.url, "VISIBILITY_TIMEOUT": "2"}
    with workers(1, tmp_path, environment) as (worker,), own.client() as client:
        later = f"count.apply_async(('{own.url}', 'runs'), countdown=5)"
        enqueue(tmp_path, environment, later)
        worker.wait_for(r"count\[\S+\] received")
        worker.kill()
        with workers(1, tmp_path, environment):
            wait_until_done(client)
        assert client.get("runs") == b"1"


@pytest.mark.slow
def test_a_task_runs_once_however_long_it_waits_and_works(tmp_path: Path, own: Valkey) -> None:
    environment = {"REDIS_URL": own.url, "VISIBILITY_TIMEOUT": "2"}
    late = f"count.apply_async(('{own.url}', 'late'), countdown=8); "
    slow = f"count_slowly.delay('{own.url}', 'slow', 8)"
    with workers(2, tmp_path, environment, pool="prefork"), own.client() as client:
        enqueue(tmp_path, environment, late + slow)
        wait_until_done(client)
        assert (client.get("late"), client.get("slow")) == (b"1", b"1")


def test_an_update_that_is_too_old_is_given_up_with_a_line(tmp_path: Path, own: Valkey) -> None:
    environment = {"REDIS_URL": own.url}
    old = "broadcast_market_data.apply_async(('OLD', {'price': 1}), expires=0.01)"
    enqueue(tmp_path, environment, f"{old}; broadcast_market_data.delay('NEW', {{'price': 2}})")
    with workers(1, tmp_path, environment) as (worker,), own.client() as client:
        worker.wait_for(r"ERROR.*broadcast_market_data\[\S+\] gave up: it has waited for too long")
        worker.wait_for(r"broadcast_market_data\[\S+\] succeeded")
        assert client.keys("*stream:market-data.OLD:history") == []
        assert client.xlen("asgi:stream:market-data.NEW:history") == 1


def test_a_worker_leaves_what_the_tests_of_its_project_send(tmp_path: Path, own: Valkey) -> None:
    environment = {"REDIS_URL": own.url}
    test_run = {**environment, "REALTIME_TEST_NAMESPACE": "test-1"}
    enqueue(tmp_path, test_run, "broadcast_market_data.delay('TESTED', {'price': 1})")
    enqueue(tmp_path, environment, "broadcast_market_data.delay('REAL', {'price': 2})")
    with workers(1, tmp_path, environment) as (worker,), own.client() as client:
        worker.wait_for(r"WARNING.*broadcast_market_data\[\S+\] is ignored: a test has sent it")
        worker.wait_for(r"broadcast_market_data\[\S+\] succeeded")
        assert client.keys("*stream:market-data.TESTED:history") == []
        assert client.xlen("asgi:stream:market-data.REAL:history") == 1


def test_an_alert_may_wait_longer_than_a_price(tmp_path: Path, own: Valkey) -> None:
    enqueue(
        tmp_path, {"REDIS_URL": own.url},
        "send_alert.delay({'message': 'x'}); broadcast_market_data.delay('A', {'price': 1})",
    )  # fmt: skip
    with own.client() as client:
        price, alert = (json.loads(text)["headers"] for text in client.lrange("celery", 0, -1))
    for headers, seconds in ((price, 60), (alert, 3600)):
        left = datetime.fromisoformat(headers["expires"]) - datetime.now(UTC)
        assert seconds - 30 < left.total_seconds() <= seconds


def broker(valkey: Valkey) -> str:
    return valkey.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")


# In this process: Celery's eager mode runs the same retries without their delays. ---------------


TASKS = [
    (tasks.broadcast_market_data, ("AAPL", {"price": 1})),
    (tasks.broadcast_prediction_update, ("AAPL", {"predicted_price": 1})),
    (tasks.send_alert, ({"message": "hello"},)),
]


@pytest.mark.parametrize(("task", "arguments"), TASKS)
def test_a_task_publishes_and_returns_the_offset(
    redis_layer: None, task: Any, arguments: tuple[Any, ...]
) -> None:
    assert [task.apply(arguments).get() for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(("task", "arguments"), TASKS)
def test_a_task_gives_up_after_a_bounded_number_of_retries(
    settings: Any, caplog: pytest.LogCaptureFixture, task: Any, arguments: tuple[Any, ...]
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": REDIS, "CONFIG": {"hosts": [NOBODY]}}}
    result = task.apply(arguments)
    assert isinstance(result.result, PublishFailed)
    retries = [record for record in caplog.records if "Retry in" in record.getMessage()]
    assert len(retries) == tasks.MAX_RETRIES
    delays = [float(re.search(r"in ([\d.]+)s", r.getMessage())[1]) for r in retries]  # type: ignore[index]
    assert all(delay <= 2**number for number, delay in enumerate(delays))
    (report,) = [record for record in caplog.records if "gave up" in record.getMessage()]
    assert report.exc_info is None
    assert "127.0.0.1:1" in report.getMessage()


@pytest.mark.parametrize(
    ("task", "arguments", "field"),
    [
        (tasks.broadcast_market_data, ("AAPL", {"price": float("nan")}), "market_data.price"),
        (tasks.broadcast_market_data, ("A APL", {}), "symbol"),
        (tasks.broadcast_prediction_update, ("AAPL", [1]), "prediction_data"),
        (tasks.send_alert, ({}, "alice"), "user_id"),
    ],
)
def test_a_refused_update_is_not_retried(
    redis_layer: None,
    caplog: pytest.LogCaptureFixture,
    task: Any,
    arguments: tuple[Any, ...],
    field: str,
) -> None:
    result = task.apply(arguments)
    assert isinstance(result.result, InvalidUpdate)
    assert result.result.field == field
    assert [
        record.getMessage() for record in caplog.records if "Retry" in record.getMessage()
    ] == []


def test_tasks_have_the_names_and_arguments_of_the_functions() -> None:
    for task, function in [
        (tasks.broadcast_market_data, broadcast.broadcast_market_data),
        (tasks.broadcast_prediction_update, broadcast.broadcast_prediction_update),
        (tasks.send_alert, broadcast.send_alert),
    ]:
        assert task.name == f"realtime.tasks.{function.__name__}"
        assert list(signature(task.run).parameters) == list(signature(function).parameters)
        with pytest.raises(TypeError):
            task.delay(no_such_argument=1)


# The broker -----------------------------------------------------------------------------------

DELAY = """\
import time
from kombu.exceptions import OperationalError
from realtime.tasks import broadcast_market_data
begin = time.monotonic()
try:
    broadcast_market_data.delay("AAPL", {})
except OperationalError as exc:
    print(f"{time.monotonic() - begin:.1f} {exc}")
"""


def test_delay_without_a_broker_fails_soon(tmp_path: Path) -> None:
    result = run_manage(tmp_path, "shell", "-v0", "-c", DELAY)
    seconds, _, reason = result.stdout.partition(" ")
    assert float(seconds) < 10
    assert "valkey.sock" in reason


def test_delay_with_a_broker_that_hangs_fails_soon(tmp_path: Path) -> None:
    with Valkey(tmp_path / "broker", tcp=True) as valkey:
        valkey.signal(signal.SIGSTOP)
        result = run_manage(tmp_path, "shell", "-v0", "-c", DELAY, REDIS_URL=valkey.url)
    seconds, _, reason = result.stdout.partition(" ")
    assert float(seconds) < 15
    assert "Timeout" in reason
