"""Servers as processes of their own: pinned to cores, measured from /proc, ended by their ids."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 5.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """Raised when something that is measured cannot be started or does not behave."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """What is started inside runs on these cores; this process comes back to its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _end_with_parent() -> None:
    """In the child: SIGTERM when the benchmark dies, however it dies (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(frozen=True)
class Usage:
    """CPU seconds since the start and resident bytes now, of a process and its children."""

    cpu: float
    rss: int


class Process:
    """A program in a session of its own, with its output in a file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cores: Sequence[int],
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.log = log
        environment = {
            **{name: v for name, v in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
            **(environment or {}),
        }
        with on_cores(cores), log.open("wb") as output:
            self.popen = subprocess.Popen(
                list(command), cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self.popen.pid

    def pids(self) -> list[int]:
        return family(self.pid)

    def usage(self) -> Usage:
        return usage(self.pids())

    def wait_for_port(self, port: int, path: str | None = None) -> None:
        """Until it accepts, or answers `path` with success. Raises BenchError with its log."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if path is None:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                else:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
                return
            except OSError:
                if self.popen.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    tail = self.log.read_text(errors="replace")[-2000:]
                    raise BenchError(f"{self.popen.args!r} did not start:\n{tail}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """SIGKILL for the process and its children: nobody waits for a server to say goodbye."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(STOP_SECONDS)


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found = [pid]
    for known in found:
        found.extend(children.get(known, []))
    return found


def usage(pids: Sequence[int]) -> Usage:
    cpu = rss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = _stat(pid)
            cpu += int(fields[11]) + int(fields[12])  # utime, stime
            rss += int(fields[21]) * PAGE
    return Usage(cpu / TICKS, rss)


def _stat(pid: int) -> list[str]:
    """The fields of proc(5) `stat` from the state on: the name before it may hold anything."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(") ")[2].split()
