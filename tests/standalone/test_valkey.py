"""Real guards and servers, each in a directory of its own."""

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from realtime.standalone import valkey
from tests.patience import scaled, wait_until

ROOT = Path(__file__).resolve().parents[2]

# Holds the server until its standard input closes; tells the server's process id.
HOLD = """
import sys
from pathlib import Path
import redis
from realtime.standalone import valkey
directory = Path(sys.argv[1])
with valkey.hold(directory):
    with redis.Redis(unix_socket_path=str(valkey.socket_path(directory))) as client:
        print(client.info("server")["process_id"], flush=True)
    sys.stdin.read()
"""


def locked(path: Path) -> bool:
    """Does a living process have this lock?"""
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def nothing_left(directory: Path) -> bool:
    return not locked(directory / "guard.lock") and not locked(directory / "server.lock")


def guard_pid(directory: Path) -> int:
    return int((directory / "guard.lock").read_text())


@contextlib.contextmanager
def connect(directory: Path) -> Iterator["redis.Redis"]:
    with redis.Redis(unix_socket_path=str(valkey.socket_path(directory))) as client:
        yield client


def server_pid(directory: Path) -> int:
    with connect(directory) as client:
        return int(client.info("server")["process_id"])


@contextlib.contextmanager
def holding_process(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def answer_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "valkey"
    yield path
    if path.exists():
        assert wait_until(lambda: nothing_left(path), seconds=5), "a process was left running"


def test_a_server_answers_within_a_second(directory: Path) -> None:
    started = time.monotonic()
    with valkey.hold(directory):
        assert time.monotonic() - started < scaled(1)
        with connect(directory) as client:
            assert client.ping()


def test_the_last_holder_to_close_stops_the_server(directory: Path) -> None:
    first = valkey.hold(directory)
    second = valkey.hold(directory)
    first.close()
    assert valkey.is_running(directory)
    second.close()
    assert not valkey.is_running(directory)
    assert wait_until(lambda: nothing_left(directory), seconds=1)


def test_closing_a_holder_twice_does_no_harm(directory: Path) -> None:
    holder = valkey.hold(directory)
    holder.close()
    holder.close()


def test_two_processes_share_one_server(directory: Path) -> None:
    with holding_process(directory) as alice, holding_process(directory) as bob:
        pid = answer_of(alice)
        assert answer_of(bob) == pid
        alice.kill()
        alice.wait()
        # Longer than the guard's poll: it has looked, and has seen Bob.
        assert not wait_until(lambda: not valkey.is_running(directory), seconds=1.2)
        assert server_pid(directory) == pid


def test_many_starters_at_once_give_one_server(directory: Path) -> None:
    with contextlib.ExitStack() as stack:
        starters = [stack.enter_context(holding_process(directory)) for _ in range(4)]
        assert len({answer_of(starter) for starter in starters}) == 1


def test_nothing_is_left_after_the_last_holder_is_killed(directory: Path) -> None:
    with holding_process(directory) as process:
        answer_of(process)
        process.kill()
        process.wait()
        assert wait_until(lambda: nothing_left(directory), seconds=3)
    assert not valkey.is_running(directory)


def test_data_survives_a_restart(directory: Path) -> None:
    with valkey.hold(directory), connect(directory) as client:
        client.set("offset", "41")
    with valkey.hold(directory), connect(directory) as client:
        assert client.get("offset") == b"41"


def test_a_server_whose_guard_was_killed_is_replaced_and_keeps_its_data(directory: Path) -> None:
    with holding_process(directory) as process:
        orphan = answer_of(process)
        with connect(directory) as client:
            client.set("offset", "41")
        os.kill(guard_pid(directory), signal.SIGKILL)
        process.kill()
    assert wait_until(lambda: not locked(directory / "guard.lock"), seconds=2)
    assert locked(directory / "server.lock")

    with valkey.hold(directory), connect(directory) as client:
        assert server_pid(directory) != orphan
        assert client.get("offset") == b"41"


def test_a_server_that_dies_while_held_comes_back_with_its_data(directory: Path) -> None:
    with valkey.hold(directory):
        first = server_pid(directory)
        with connect(directory) as client:
            client.set("offset", "41")
            client.waitaof(1, 0, 2000)
        os.kill(first, signal.SIGKILL)
        assert wait_until(lambda: not valkey.is_running(directory), seconds=2)
        assert wait_until(lambda: valkey.is_running(directory), seconds=3)
        with connect(directory) as client:
            assert client.get("offset") == b"41"


def test_a_holder_who_arrives_while_the_server_stops_gets_a_new_one(directory: Path) -> None:
    for _ in range(3):
        first = valkey.hold(directory)
        old = server_pid(directory)
        first.close()  # returns when Valkey is gone: its guard is just ending
        with valkey.hold(directory):
            assert server_pid(directory) != old


def test_sigterm_to_the_guard_stops_the_server(directory: Path) -> None:
    with valkey.hold(directory):
        os.kill(guard_pid(directory), signal.SIGTERM)
        assert wait_until(lambda: nothing_left(directory), seconds=3)


def test_only_the_owner_can_reach_the_socket_and_the_data(directory: Path) -> None:
    with valkey.hold(directory), connect(directory) as client:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(valkey.socket_path(directory).stat().st_mode) == 0o700
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_path_too_long_for_a_socket_moves_below_tmp(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 100) / "valkey"
    path = valkey.socket_path(directory)
    try:
        assert len(os.fsencode(path)) <= 100
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with valkey.hold(directory):
            assert valkey.is_running(directory)
        assert wait_until(lambda: nothing_left(directory), seconds=2)
    finally:
        shutil.rmtree(path.parent)


def test_a_socket_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 100) / "valkey"
    private = valkey.socket_path(directory).parent
    try:
        private.chmod(0o755)
        with pytest.raises(valkey.EmbeddedServerError, match="mode 0700"):
            valkey.socket_path(directory)
    finally:
        shutil.rmtree(private)


def test_a_server_that_cannot_start_shows_the_end_of_its_log(directory: Path) -> None:
    (directory / "appendonlydir").mkdir(parents=True)
    (directory / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest\n")
    with pytest.raises(valkey.EmbeddedServerError, match=r"(?s)did not start.*manifest"):
        valkey.hold(directory)


def test_a_private_file_is_created_with_mode_0600(tmp_path: Path) -> None:
    with open(tmp_path / "secret", "x", opener=valkey.private_opener) as file:
        file.write("x")
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
