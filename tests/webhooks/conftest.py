import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection

from realtime.models import WebhookDelivery, WebhookEndpoint
from realtime.webhooks.events import emit_to
from tests import personas
from tests.patience import START_SECONDS, STOP_SECONDS
from tests.processes import ROOT, process_environment

URL = "https://hooks.example.com/ara"


@pytest.fixture
def alice() -> User:
    return personas.alice()


def endpoint(owner: User, url: str = URL, **fields: Any) -> WebhookEndpoint:
    return WebhookEndpoint.objects.create_endpoint(owner, url, **fields)[0]


def event(target: WebhookEndpoint, **changes: Any) -> WebhookDelivery:
    """A delivery row for an endpoint, with the given changes."""
    row = emit_to(target.pk, "test", {"text": "Hello"}, symbol=None)
    assert row is not None
    if changes:
        WebhookDelivery.objects.filter(pk=row.pk).update(**changes)
        row.refresh_from_db()
    return row


class Worker:
    """`manage.py deliver_webhooks` in a process of its own, on the database of the test."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.log_path = directory / "worker.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "deliver_webhooks"],
                cwd=ROOT, env=process_environment(directory, environment),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while "sending webhooks" not in self.log:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the worker with SIGKILL, so that it cannot clean up."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """Stop the worker with SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)


def database_url() -> str:
    """The URL of the test's own database, for a second process."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    user, host = database["USER"], f"{database['HOST']}:{database['PORT']}"
    return f"postgres://{user}:{database['PASSWORD']}@{host}/{database['NAME']}"


@pytest.fixture
def start_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Worker]]:
    """A function that starts a worker process: `start_worker(REALTIME_…="…")`."""
    workers: list[Worker] = []

    def start(**environment: str) -> Worker:
        common = {
            "DATABASE_URL": database_url(),
            "SECRET_KEY": django_settings.SECRET_KEY,
            "REALTIME_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1",
            "REALTIME_WEBHOOK_RETRY_DELAYS": "0.1,0.1,0.1,0.1,0.1,0.1,0.1",
        }
        worker = Worker(tmp_path_factory.mktemp("worker"), {**common, **environment})
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill()
