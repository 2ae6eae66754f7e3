"""Tests of a user's own project reach nobody of the server that runs beside them."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from channels.layers import channel_layers, get_channel_layer
from django.core import mail
from django.test.utils import override_settings

from realtime import checks, isolation
from realtime.broadcast import asend_alert
from realtime.delivery.layers import MemoryStreamLayer, RedisStreamLayer
from tests.clients import Socket
from tests.conftest import MEMORY, REDIS
from tests.documents import blocks, section
from tests.host_project import TEST_CONFIG, pass_tests, write_project
from tests.live import create_people, publish_to
from tests.processes import LiveServer, Valkey

slow = pytest.mark.slow

USER_ALERTS = """
import os
from channels.layers import get_channel_layer
from django.test import TestCase

from realtime import tasks
from realtime.broadcast import broadcast_market_data, send_alert


class UserAlerts(TestCase):
    def test_alert(self):
        with self.captureOnCommitCallbacks(execute=True):
            alert = send_alert({"message": "made up by a test"}, user_id=int(os.environ["ALICE"]))
            broadcast_market_data("MADEUP", {"price": 1})
        self.assertEqual(alert.offset, 1)
        self.assertEqual(type(get_channel_layer()).__name__, os.environ["LAYER"])

    def test_task(self):
        tasks.send_alert.delay({"message": "made up by a task"}, int(os.environ["ALICE"]))
"""


@pytest.fixture(scope="module")
def server(module_servers: Any) -> LiveServer:
    started: LiveServer = module_servers(REALTIME_HEARTBEAT_INTERVAL="600")
    return started


@pytest.fixture
async def alice(server: LiveServer, settings: Any) -> SimpleNamespace:
    """A user with a socket at a running server."""
    people = await asyncio.to_thread(create_people, server)
    socket = await Socket.open(f"{server.ws}/ws/alerts?token={people.token}")
    publish_to(server, settings)
    return SimpleNamespace(id=people.alice_id, socket=socket, environment=server.environment)


async def require_nothing_came(alice: SimpleNamespace, last: str) -> None:
    await asend_alert({"message": last}, user_id=alice.id)
    assert (await alice.socket.until("alert"))["data"]["message"] == last
    await alice.socket.leave()


@slow
@pytest.mark.parametrize(
    ("runner", "layer"),
    [
        ("manage.py test", "MemoryStreamLayer"),
        ("pytest", "MemoryStreamLayer"),
        # Nothing tells of it before its layer is there: in Redis, by another name.
        ("runtests.py", "RedisStreamLayer"),
    ],
)
async def test_tests_of_a_user_reach_no_socket(
    alice: SimpleNamespace, tmp_path: Path, runner: str, layer: str
) -> None:
    url = alice.environment["REDIS_URL"]
    broker = url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    own = {"SHOP_BROKER": broker, "ALICE": str(alice.id), "LAYER": layer}
    write_project(tmp_path, USER_ALERTS)
    await asyncio.to_thread(pass_tests, tmp_path, runner, {**alice.environment, **own})
    await require_nothing_came(alice, last=runner)
    with redis.Redis.from_url(url) as client:
        left = {name.decode() for name in client.keys("*")}
        (task,) = client.lpop("celery", 10)
    assert not [name for name in left if "asgi:stream:market-data.MADEUP" in name]
    # Which the workers of the server ignore: tests/test_tasks.py.
    assert json.loads(task)["headers"]["realtime_test_namespace"].startswith("test-")


TOGETHER = """
import subprocess, sys
from channels.layers import get_channel_layer
from django.test import SimpleTestCase

from realtime.broadcast import recent_updates
from asgiref.sync import async_to_sync


class ServerOfATest(SimpleTestCase):
    def test_what_a_process_publishes(self):
        command = [sys.executable, "manage.py", "broadcast_market_data", "OTHER", '{"price": 1}']
        subprocess.run(command, check=True, timeout=60)
        self.assertEqual(async_to_sync(recent_updates)("market-data", "OTHER"), [{"price": 1}])
        self.assertIn("-test-", get_channel_layer().prefix)
"""


@slow
@pytest.mark.parametrize("runner", ["manage.py test", "pytest -n 2"])
def test_tests_and_what_they_start_share_the_redis_of_tests(
    valkey: Valkey, tmp_path: Path, runner: str
) -> None:
    valkey.client().flushall()
    write_project(tmp_path, TOGETHER, TEST_CONFIG)
    pass_tests(tmp_path, runner, {"REDIS_URL": valkey.url})
    keys = [name.decode() for name in valkey.client().keys("*")]
    assert keys
    assert all(name.startswith("asgi-test-") for name in keys)


@slow
def test_the_tests_in_the_documentation_pass(tmp_path: Path) -> None:
    code = "\n\n".join(blocks(section("Testing your code"), "python"))
    write_project(tmp_path, code)
    pass_tests(tmp_path, "pytest", {"REDIS_URL": "redis://127.0.0.1:1"})


@pytest.mark.parametrize(
    ("arguments", "tested"),
    [
        (["manage.py", "test"], True),
        (["manage.py", "testserver"], True),
        (["/usr/bin/django-admin", "test", "shop"], True),
        (["/lib/django/__main__.py", "test"], True),
        (["manage.py", "x"], False),
        (["manage.py"], False),
        (["daphne", "test"], False),
        (["/lib/shop/__main__.py", "test"], False),
    ],
)
def test_the_command_line_tells_a_test_run(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], tested: bool
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    assert isolation._in_test_command() is tested


@pytest.fixture
def no_runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process as that of a server."""
    from django.test import utils

    monkeypatch.delenv("PYTEST_VERSION")
    monkeypatch.delenv(isolation.VARIABLE)
    saved = utils._TestState.saved_data
    del utils._TestState.saved_data
    yield monkeypatch
    utils._TestState.saved_data = saved


REDIS_LAYER = {"BACKEND": REDIS, "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}


def test_a_server_keeps_its_layer(no_runner: pytest.MonkeyPatch) -> None:
    with override_settings(CHANNEL_LAYERS={"default": REDIS_LAYER}):
        isolation.isolate()
        layer: Any = get_channel_layer()
    assert not isolation.under_test()
    assert layer.prefix == "asgi"


def test_a_process_that_a_test_has_started_shares_its_names(no_runner: pytest.MonkeyPatch) -> None:
    no_runner.setenv(isolation.VARIABLE, "test-1")
    with override_settings(CHANNEL_LAYERS={"default": REDIS_LAYER}):
        isolation.isolate()
        layer: Any = get_channel_layer()
    assert isinstance(layer, RedisStreamLayer)
    assert layer.prefix == "asgi-test-1"


def test_a_server_with_the_names_of_a_test_run_is_reported(no_runner: pytest.MonkeyPatch) -> None:
    assert [*checks.check_test_namespace()] == []
    no_runner.setenv(isolation.VARIABLE, "test-1")
    assert [message.id for message in checks.check_test_namespace()] == ["realtime.W015"]


def test_any_runner_that_sets_up_a_test_environment_is_recognised(
    no_runner: pytest.MonkeyPatch,
) -> None:
    from django.test.utils import setup_test_environment, teardown_test_environment

    no_runner.setattr(mail, "outbox", [])  # which the end of a test environment deletes
    assert not isolation.under_test()
    setup_test_environment()
    tested = isolation.under_test()
    teardown_test_environment()
    assert tested
    assert not isolation.under_test()


def test_workers_of_a_test_run_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isolation.VARIABLE, "test-1")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw3")
    assert [isolation.namespace(), isolation.namespace()] == ["test-1-gw3", "test-1-gw3"]


@pytest.mark.parametrize(
    ("alias", "backend", "after"),
    [
        ("default", REDIS, MEMORY),
        ("default", "channels_redis.core.RedisChannelLayer", MEMORY),
        ("prices", REDIS, MEMORY),
        ("chat", "channels_redis.core.RedisChannelLayer", "channels_redis.core.RedisChannelLayer"),
        ("default", MEMORY, MEMORY),
    ],
)
def test_our_layers_and_the_default_one_are_isolated(alias: str, backend: str, after: str) -> None:
    with override_settings(CHANNEL_LAYERS={alias: {"BACKEND": backend}}):
        isolation.isolate()
        assert channel_layers.configs[alias]["BACKEND"] == after


def test_a_stock_layer_for_tests_has_names_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isolation.VARIABLE, "test-1")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    stock = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "TEST_CONFIG": {}}
    with override_settings(CHANNEL_LAYERS={"default": stock}):
        isolation.isolate()
        assert channel_layers.configs["default"]["CONFIG"] == {"prefix": "asgi-test-1"}


def test_tests_of_this_project_are_in_memory() -> None:
    assert isinstance(get_channel_layer(), MemoryStreamLayer)
