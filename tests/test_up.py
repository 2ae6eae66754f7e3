"""`manage.py up` as a real process, with all that it starts, on a free port."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.patience import PATIENCE, START_SECONDS, scaled, wait_until
from tests.processes import ROOT, free_port

pytestmark = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="finds the processes of a session in /proc"
)


def processes_of_session(session: int) -> list[int]:
    """Its processes; ended ones that have not been waited for yet do not count."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                found.append(int(path.parent.name))
    return found


def valkey_runs(var: Path) -> bool:
    lock = var / "valkey" / "server.lock"
    if not lock.exists():
        return False
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Up:
    """One run of the command in a session of its own."""

    def __init__(
        self, var: Path, *arguments: str, port: int | None = None, output: str = ".output"
    ) -> None:
        self.var = var
        self.port = port or free_port()
        self.output_file = var.with_suffix(output)
        environment = {**os.environ, "VAR_DIR": str(var), "PORT": str(self.port)}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        self.environment = environment
        with open(self.output_file, "wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.output_file.read_text()

    def wait_for_banner(self) -> None:
        def started_or_ended() -> bool:
            return self.process.poll() is not None or "webbrowser" in self.output

        assert wait_until(started_or_ended, seconds=60), self.output
        assert "webbrowser" in self.output, self.output  # the end of the banner

    def line_with(self, words: str) -> str:
        return next(line.strip() for line in self.output.splitlines() if words in line)

    def nothing_left(self) -> bool:
        return not processes_of_session(self.process.pid) and not valkey_runs(self.var)

    def clean_up(self) -> None:
        self.process.kill()
        self.process.wait()
        for pid in processes_of_session(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert wait_until(self.nothing_left, seconds=10)


Start = Callable[..., Up]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that runs, with everything."""
    running = Up(tmp_path_factory.mktemp("up") / "var")
    try:
        running.wait_for_banner()
        yield running
    finally:
        running.clean_up()


@pytest.fixture
def start(tmp_path: Path, migrated_database: Path) -> Iterator[Start]:
    """Starts one with the tables made already, which takes a second less."""
    runs: list[Up] = []
    (tmp_path / "var").mkdir()
    shutil.copy(migrated_database, tmp_path / "var" / "db.sqlite3")

    def start(*arguments: str, port: int | None = None) -> Up:
        runs.append(Up(tmp_path / "var", *arguments, port=port))
        return runs[-1]

    yield start
    for run in runs:
        run.clean_up()


def test_the_page_answers_at_the_address_of_the_banner(up: Up) -> None:
    address = up.line_with("Dashboard").split()[-1]
    assert httpx.get(address, timeout=START_SECONDS).status_code == 200


def test_the_login_of_the_banner_opens_the_admin(up: Up) -> None:
    found = re.search(r"log in as (\S+) with password (\S+)", up.output)
    assert found is not None
    address = up.line_with("Admin").split()[-1]
    with httpx.Client(follow_redirects=True, timeout=START_SECONDS) as browser:
        page = browser.get(address)
        answer = browser.post(
            page.url,
            data={
                "username": found[1],
                "password": found[2],
                "csrfmiddlewaretoken": browser.cookies["csrftoken"],
                "next": "/admin/",
            },
            headers={"Referer": str(page.url)},
        )
    assert answer.status_code == 200
    assert "Webhook endpoints" in answer.text


@contextlib.contextmanager
def shell(up: Up, line: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        ["sh", "-c", f"exec env {line}"],
        cwd=ROOT,
        env={**os.environ, "BROWSER": "echo %s", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_broadcast_from_a_second_terminal_reaches_the_websocket_client(up: Up) -> None:
    """Both lines as the banner has them; only the symbol is one that the replay does not feed."""
    client_line = up.line_with("-m websockets").replace("AAPL", "TEST")
    broadcast_line = up.line_with("broadcast_market_data").replace("AAPL", "TEST")
    with shell(up, client_line) as client:
        assert client.stdout is not None
        for output in client.stdout:
            if '"connected"' in output:
                break
        with shell(up, broadcast_line) as broadcast:
            assert broadcast.wait(PATIENCE) == 0
        for output in client.stdout:
            if "market_data_update" in output:
                break
        assert "149.5" in output


def test_the_line_for_the_admin_opens_a_browser(up: Up) -> None:
    with shell(up, up.line_with("webbrowser")) as browser:
        assert browser.stdout is not None
        assert browser.stdout.readline().strip() == f"http://localhost:{up.port}/admin/"


def test_the_replay_feeds_the_page(up: Up) -> None:
    client_line = up.line_with("-m websockets")
    with shell(up, client_line) as client:
        assert client.stdout is not None
        for output in client.stdout:
            if '"market_data_update"' in output and '"replay"' in output:
                break
        else:
            pytest.fail("the client ended without an update")


def test_a_second_one_on_the_same_port_says_so_in_one_line(up: Up, start: Start) -> None:
    second = start(port=up.port)
    assert second.process.wait(PATIENCE) == 1
    assert len(second.output.splitlines()) == 1
    assert f"Port {up.port} is in use" in second.output
    assert "PORT=9000 make run" in second.output
    assert not (second.var / "valkey").exists()
    assert not (second.var / "demo.json").exists()


def test_a_second_one_in_the_same_directory_names_the_first(up: Up) -> None:
    second = Up(up.var, output=".second")
    assert second.process.wait(PATIENCE) == 1
    (line,) = second.output.splitlines()
    assert f"already running in {up.var}, at http://localhost:{up.port}/" in line
    assert "VAR_DIR=" in line


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "²"])
def test_a_port_that_is_none_is_refused(start: Start, port: str) -> None:
    run = start(f"--port={port}")
    assert run.process.wait(PATIENCE) != 0
    assert "choose one of 1 to 65535" in run.output
    assert "Traceback" not in run.output


def test_what_dies_is_started_again(up: Up) -> None:
    web = next(
        pid
        for pid in processes_of_session(up.process.pid)
        if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    )
    os.kill(web, signal.SIGKILL)
    assert wait_until(lambda: "web server ended with SIGKILL" in up.output, seconds=5)

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://localhost:{up.port}/healthz").status_code == 200
        return False

    assert wait_until(answers, seconds=60)


def test_ctrl_c_stops_everything_and_is_no_error(start: Start) -> None:
    run = start()
    run.wait_for_banner()
    assert valkey_runs(run.var)
    os.killpg(run.process.pid, signal.SIGINT)  # what a terminal does
    assert run.process.wait(scaled(15)) == 0
    assert wait_until(run.nothing_left, seconds=3)
    assert "Traceback" not in run.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_banner_stops_everything(start: Start, number: int) -> None:
    run = start()
    assert wait_until(lambda: valkey_runs(run.var), seconds=60)
    os.killpg(run.process.pid, number)
    assert run.process.wait(scaled(15)) == 0
    assert wait_until(run.nothing_left, seconds=3)
    assert "Traceback" not in run.output


def test_nothing_outlives_a_command_that_was_killed(start: Start) -> None:
    run = start()
    run.wait_for_banner()
    run.process.kill()
    run.process.wait()
    assert wait_until(run.nothing_left, seconds=10)


@pytest.mark.slow
def test_a_web_server_that_cannot_start_ends_the_command(start: Start) -> None:
    """The port is taken between the command's look at it and the web server's."""
    run = start("--no-feed", "--no-worker")
    assert wait_until(lambda: (run.var / "valkey").exists(), seconds=30)
    with socket.create_server(("127.0.0.1", run.port)):
        assert run.process.wait(START_SECONDS) == 1
    assert "The web server does not start" in run.output
    assert wait_until(run.nothing_left, seconds=3)
