"""The machines: Redis, a database, web processes, background works, and a publisher."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.postgres import Postgres, find_programs
from tests.processes import (
    ROOT,
    LiveServer,
    Valkey,
    manage,
    process_environment,
    start_live_server,
)
from tests.soak.account import Account

SYMBOLS = [f"S{number:02}" for number in range(20)]
NAMES = [*SYMBOLS, "RULE"]
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
# Seconds for which a process may go on after SIGTERM: three, and what a busy machine adds.
STOP_SECONDS = 10.0

_MAKE = """
import json
from tests import personas
from realtime.alerts.rule_editing import fill, save_rule
from realtime.alerts.rules import parse_rule
from realtime.models import AlertRule, ApiKey
users = [personas._user(f"soak-{number}") for number in range(3)]
keys = [ApiKey.objects.create_key(user, "soak", scopes=["alerts", "market-data"])[1]
        for user in users]
rule = {"symbols": ["RULE"], "conditions": [{"type": "crosses_above", "value": 500}],
        "message": "rule {price}"}
save_rule(fill(AlertRule(owner=users[0]), parse_rule(rule)))
print(json.dumps([[user.pk for user in users], keys]))
"""
_STORED = """
import json
from realtime.models import Alert
print(json.dumps([[alert.owner_id, alert.data["message"], alert.sent_at is not None]
                  for alert in Alert.objects.order_by("id")]))
"""


class Program:
    """A process that is started again and again, and one log of all its lives."""

    def __init__(self, place: "Place", name: str, *command: str) -> None:
        self.place = place
        self.name = name
        self.command = command
        self.log = place.directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", *self.command],
                cwd=ROOT, env=self.place.environment, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        self.place.end(self.name, self.process)


class Place:
    """Starts everything in a directory; a context manager that leaves no process behind."""

    def __init__(self, directory: Path, account: Account, *, postgres: bool = True) -> None:
        self.directory = directory
        self.account = account
        self._stack = ExitStack()
        programs = find_programs() if postgres else None
        self.postgres = Postgres(programs) if programs is not None else None
        os.environ.setdefault("TEST_REDIS_SERVER", shutil.which("redis-server") or "")
        self.redis = Valkey(directory / "redis", tcp=True, arguments=DURABLE)
        self.variables = {
            "REDIS_URL": self.redis.url,
            "SECRET_KEY": "of a soak, and long enough for a key of the tests",
            "REALTIME_HEARTBEAT_INTERVAL": "5",
        }
        if self.postgres is not None:
            self.variables["DATABASE_URL"] = self.postgres.url
        self.webs: list[LiveServer] = []
        self.background = Program(self, "background", "run_background")
        self.engine = Program(self, "engine", "run_alerts")
        self.publisher: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return process_environment(self.directory, self.variables)

    def __enter__(self) -> "Place":
        with ExitStack() as stack:
            stack.enter_context(self.redis)
            if self.postgres is not None:
                stack.enter_context(self.postgres)
            manage(self.directory, "migrate", "-v0", **self.variables)
            self.users, self.keys = json.loads(self.shell(_MAKE))
            for program in (self.background, self.engine):
                stack.callback(program.kill)
            for _ in range(2):
                web = start_live_server("uvicorn", self.directory, self.variables)
                self.webs.append(web)
                stack.callback(lambda web=web: web.kill())
            self.background.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *args: object) -> None:
        self._stack.close()

    def shell(self, code: str) -> str:
        return manage(self.directory, "shell", "-v0", "-c", code, **self.variables).stdout

    def processes(self) -> list[tuple[str, int]]:
        """Name and pid of those whose memory counts."""
        running = [("web", web.process) for web in self.webs]
        running += [
            (program.name, program.process)
            for program in (self.background, self.engine)
            if program.process is not None
        ]
        return [(name, process.pid) for name, process in running if process.poll() is None]

    def stored_alerts(self) -> list[list[Any]]:
        found: list[list[Any]] = json.loads(self.shell(_STORED))
        return found

    def heads(self) -> dict[str, tuple[str, int]]:
        """Where each stream is in Redis."""
        client: Any = self.redis.client()
        return {
            name: (epoch.decode(), int(offset))
            for name in NAMES
            for epoch, offset in [client.hmget(f"asgi:stream:market-data.{name}:meta", "e", "o")]
        }

    def end(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        """SIGTERM; one that does not end is a violation."""
        began = time.monotonic()
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.account.violated(f"{name} had not ended {STOP_SECONDS:g} s after SIGTERM")
            process.kill()
            process.wait()
        took = time.monotonic() - began
        self.account.slowest[name] = max(took, self.account.slowest.get(name, 0.0))

    def restart_web(self, web: LiveServer, *, kill: bool) -> None:
        if kill:
            web.kill()
        else:
            self.end("serve", web.process)
        again = start_live_server("uvicorn", self.directory, self.variables, port=web.port)
        web.process = again.process

    # The publisher ------------------------------------------------------------------------------

    async def start_publisher(self) -> None:
        start = int(time.time() * 1000) % 10**9
        options = {"symbols": SYMBOLS, "users": self.users, "start": start}
        with (self.directory / "publisher.log").open("ab") as log:
            self.publisher = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.soak.publisher", json.dumps(options),
                cwd=ROOT, stdout=subprocess.PIPE, stderr=log,
                env={**self.environment, "DJANGO_SETTINGS_MODULE": "ara_project.settings"},
            )  # fmt: skip
        self._listening = asyncio.create_task(self._listen(self.publisher))

    async def _listen(self, publisher: asyncio.subprocess.Process) -> None:
        assert publisher.stdout is not None
        async for line in publisher.stdout:
            if line.endswith(b"\n"):  # one that was killed in the middle of a line
                self.account.heard(json.loads(line))

    async def kill_publisher(self) -> None:
        if self.publisher is not None and self._listening is not None:
            if self.publisher.returncode is None:
                self.publisher.kill()
            else:
                self.account.violated(f"the publisher had ended with {self.publisher.returncode}")
            await self.publisher.wait()
            await self._listening

    def read_logs(self) -> None:
        for path in sorted(self.directory.glob("*.log")):
            self.account.read_log(path)
