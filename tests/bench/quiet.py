"""A machine that others use too: one benchmark at a time, and a look at what else runs."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.processes import TICKS, BenchError

LOCK_SECONDS = 1800.0
# The share of one core that other programs may take while something is measured.
NOISE = 0.2
LOOK_SECONDS = 0.5


@contextlib.contextmanager
def alone(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Two benchmarks on the same cores would measure each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BenchError("another benchmark does not end") from None
                if not told:
                    say("waiting for another benchmark to end")
                    told = True
                time.sleep(0.5)
        yield


def busy_seconds() -> float:
    """CPU seconds that all cores have worked (or were taken away by the host) since the boot."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, softirq, steal = map(
            int, file.readline().split()[1:9]
        )
    return (user + nice + system + irq + softirq + steal) / TICKS


def wait(patience: float, say: Callable[[str], None]) -> None:
    """Until the machine has been quiet for a moment, at most `patience` seconds."""
    deadline = time.monotonic() + patience
    told = False
    while True:
        began, busy = time.monotonic(), busy_seconds()
        time.sleep(LOOK_SECONDS)
        share = (busy_seconds() - busy) / (time.monotonic() - began)
        if share < NOISE or time.monotonic() > deadline:
            return
        if not told:
            say(f"    others use {share:.1f} of {os.cpu_count()} cores; waiting")
            told = True
