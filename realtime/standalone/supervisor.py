"""Child processes that are started again when they die, and never outlive this process.

All of them are in the process group of one more child, the watchdog, which runs this file. It
reads from a pipe whose other end this process has. When this process dies, by SIGKILL too, the
kernel closes the pipe and the watchdog ends the group. The group is not the terminal's: a Ctrl-C
reaches this process alone, which then stops the others in order.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

_STOP_SECONDS: Final = 10.0
_WATCHDOG_GRACE_SECONDS: Final = 2.0
_FIRST_DELAY: Final = 0.5
_MAX_DELAY: Final = 30.0
# A program that ran this long was well: its next restart is as quick as the first one.
WELL_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str]


@dataclass
class _Child:
    program: Program
    process: "subprocess.Popen[bytes]"
    started: float
    deaths: int = 0
    restart_at: float | None = None


def restart_delay(deaths: int) -> float:
    """Seconds to wait before the restart after the n-th death in a row: 0.5, 1, 2, ... 30."""
    return min(_FIRST_DELAY * 2.0 ** (deaths - 1), _MAX_DELAY)


class Supervisor:
    """Runs programs with the given directory and environment; a context manager.

    `say` gets one line for a person whenever something happens. Nothing runs by itself: the
    owner calls `tick` a few times a second.
    """

    def __init__(
        self, *, cwd: Path, environment: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._cwd = cwd
        self._environment = environment
        self._say = say
        self._children: list[_Child] = []
        self._impatient = False
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, process_group=0
        )

    def start(self, program: Program) -> None:
        self._children.append(_Child(program, self._spawn(program), time.monotonic()))

    def deaths(self, name: str) -> int:
        """How many times in a row this program has died soon after its start."""
        return sum(child.deaths for child in self._children if child.program.name == name)

    def tick(self) -> None:
        """Start again what has died, when its time has come."""
        now = time.monotonic()
        for child in self._children:
            if child.restart_at is None:
                if child.process.poll() is not None:
                    self._plan_restart(child, now)
            elif now >= child.restart_at:
                child.process = self._spawn(child.program)
                child.started = now
                child.restart_at = None

    def _plan_restart(self, child: _Child, now: float) -> None:
        well = now - child.started > WELL_SECONDS
        child.deaths = 1 if well else child.deaths + 1
        delay = restart_delay(child.deaths)
        child.restart_at = now + delay
        self._say(
            f"{child.program.name} ended with {_outcome(child.process.returncode)}; "
            f"starting it again in {delay:g} s"
        )

    def _spawn(self, program: Program) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            program.command,
            cwd=self._cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            process_group=self._watchdog.pid,
        )

    def hurry(self) -> None:
        """Do not wait for programs that are stopping; may be called from a signal handler."""
        self._impatient = True

    def stop(self) -> None:
        """SIGTERM to each program, SIGKILL to what is left after 10 seconds."""
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        while any(child.process.poll() is None for child in self._children):
            if self._impatient or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        # The whole group: the programs' own children, too, and the watchdog with them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._watchdog.pid, signal.SIGKILL)
        for process in (self._watchdog, *(child.process for child in self._children)):
            process.wait()
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _outcome(returncode: int) -> str:
    """`exit code 1`, or `SIGKILL` for the -9 that subprocess makes of it."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def _watch() -> None:
    """The watchdog: end this process group once the pipe is closed."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGTERM)
    time.sleep(_WATCHDOG_GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _watch()
