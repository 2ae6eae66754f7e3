"""Real programs, each a few lines of Python."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from realtime.standalone.supervisor import Program, Supervisor, restart_delay
from tests.patience import scaled, wait_until

ROOT = Path(__file__).resolve().parents[2]

# Each writes its process id into the file named by its first argument, at every start.
STAY = "import os, sys, time; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + STAY
FAIL = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); sys.exit(3)"
# The parent of one that stays; the parent itself leaves no trace.
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STAY!r}, sys.argv[1]])"
# A process that supervises the program in its second argument.
OWNER = """
import os, sys, time
from pathlib import Path
from realtime.standalone.supervisor import Program, Supervisor
supervisor = Supervisor(cwd=Path.cwd(), environment=os.environ, say=print)
supervisor.start(Program("child", [sys.executable, "-c", sys.argv[2], sys.argv[1]]))
time.sleep(60)
"""


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def alive(pid: int) -> bool:
    """Is it running? What has ended is not, although nobody may have waited for it yet."""
    try:
        if not Path("/proc/self").exists():
            os.kill(pid, 0)
            return True
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def program(code: str, path: Path) -> Program:
    return Program("child", [sys.executable, "-c", code, str(path)])


def supervise(lines: list[str]) -> Supervisor:
    return Supervisor(cwd=ROOT, environment=os.environ, say=lines.append)


@pytest.fixture
def started(tmp_path: Path) -> Path:
    return tmp_path / "started"


def test_a_program_that_dies_is_started_again_and_said_so(started: Path) -> None:
    lines: list[str] = []
    with supervise(lines) as supervisor:
        supervisor.start(program(STAY, started))
        assert wait_until(lambda: len(pids(started)) == 1)
        os.kill(pids(started)[0], signal.SIGKILL)

        def again() -> bool:
            supervisor.tick()
            return len(pids(started)) == 2

        assert wait_until(again)
    assert lines == ["child ended with SIGKILL; starting it again in 0.5 s"]


def test_the_deaths_of_a_program_that_never_stays_are_counted(started: Path) -> None:
    lines: list[str] = []
    with supervise(lines) as supervisor:
        supervisor.start(program(FAIL, started))

        def twice() -> bool:
            supervisor.tick()
            return supervisor.deaths("child") == 2

        assert wait_until(twice)
    assert lines[-1] == "child ended with exit code 3; starting it again in 1 s"


def test_restarts_become_rarer_up_to_half_a_minute() -> None:
    assert [restart_delay(deaths) for deaths in (1, 2, 3, 7, 50)] == [0.5, 1, 2, 30, 30]


def test_stopping_ends_every_program(started: Path) -> None:
    with supervise([]) as supervisor:
        supervisor.start(program(STAY, started))
        supervisor.start(program(STAY, started))
        assert wait_until(lambda: len(pids(started)) == 2)
    assert not any(alive(pid) for pid in pids(started))


def test_the_children_of_a_program_end_with_it(started: Path) -> None:
    with supervise([]) as supervisor:
        supervisor.start(program(PARENT, started))
        assert wait_until(lambda: len(pids(started)) == 1)
    assert wait_until(lambda: not alive(pids(started)[0]))


def test_hurrying_does_not_wait_for_a_program_that_will_not_stop(started: Path) -> None:
    began = time.monotonic()
    with supervise([]) as supervisor:
        supervisor.start(program(STUBBORN, started))
        assert wait_until(lambda: len(pids(started)) == 1)
        supervisor.hurry()
    assert not alive(pids(started)[0])
    assert time.monotonic() - began < scaled(5)


@pytest.mark.parametrize("code", [STAY, STUBBORN, PARENT])
def test_programs_end_when_their_owner_is_killed(started: Path, code: str) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(started), code], cwd=ROOT) as owner:
        try:
            assert wait_until(lambda: len(pids(started)) == 1)
        finally:
            owner.kill()
    assert wait_until(lambda: not alive(pids(started)[0]))
