"""Tests of a user's own app reach nobody of the project that runs beside them."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ara_project.environment import under_test
from realtime.broadcast import asend_alert
from tests.clients import Socket
from tests.documents import blocks, section
from tests.live import create_people, publish_to
from tests.processes import ROOT, START_SECONDS, LiveServer, Valkey, process_environment

pytestmark = pytest.mark.slow

SHOP = """
from django.contrib.auth.models import User
from django.test import TestCase

from realtime import tasks
from realtime.broadcast import broadcast_market_data, send_alert


class UserAlerts(TestCase):
    def test_alert(self):
        user = User.objects.create_user("somebody", "", "pw-for-tests-1")
        with self.captureOnCommitCallbacks(execute=True):
            send_alert({"message": "made up by a test"}, user_id=user.pk)
            broadcast_market_data("MADEUP", {"price": 1})
        tasks.send_alert.delay({"message": "made up by a task"}, user.pk)
"""
RUNNERS = {
    "manage.py test": ["manage.py", "test", "shop"],
    "pytest": ["-m", "pytest", "-p", "no:cacheprovider", "-q", "-c"],
}


def run_tests_of_a_user(
    runner: str, directory: Path, environment: dict[str, str], code: str = SHOP
) -> None:
    (directory / "shop").mkdir()
    (directory / "shop" / "__init__.py").touch()
    (directory / "shop" / "tests.py").write_text(code)
    (directory / "pytest.ini").write_text("[pytest]\npython_files = tests.py\n")
    arguments = RUNNERS[runner]
    if runner == "pytest":
        arguments = [*arguments, str(directory / "pytest.ini"), str(directory / "shop")]
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{directory}"}
    settings = {"DJANGO_SETTINGS_MODULE": "ara_project.settings"}
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=process_environment(directory, environment) | paths | settings,
        capture_output=True, text=True, timeout=2 * START_SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("runner", RUNNERS)
async def test_tests_of_a_user_reach_no_socket(
    start_server: Any, settings: Any, tmp_path: Path, valkey: Valkey, runner: str
) -> None:
    server: LiveServer = start_server(REALTIME_HEARTBEAT_INTERVAL="600")
    people = await asyncio.to_thread(create_people, server)
    broker = valkey.url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    environment = {**server.environment, "CELERY_BROKER_URL": broker}
    socket = await Socket.open(f"{server.ws}/ws/alerts?token={people.token}")
    await asyncio.to_thread(run_tests_of_a_user, runner, tmp_path, environment)
    publish_to(server, settings)
    await asend_alert({"message": "real"}, user_id=people.alice_id)
    assert (await socket.until("alert"))["data"]["message"] == "real"
    await socket.leave()
    left = {name.decode() for name in valkey.client().keys("*")}
    assert not [name for name in left if "MADEUP" in name or name == "celery"]


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_tests_in_the_documentation_pass(tmp_path: Path, runner: str) -> None:
    code = "\n\n".join(blocks(section("Testing your code"), "python"))
    run_tests_of_a_user(runner, tmp_path, {}, code)


@pytest.mark.parametrize(("command", "alone"), [("test", True), ("testserver", True), ("x", False)])
def test_commands_of_tests_have_a_layer_of_their_own(
    monkeypatch: pytest.MonkeyPatch, command: str, alone: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["manage.py", command])
    monkeypatch.delenv("PYTEST_VERSION")
    assert under_test() is alone
