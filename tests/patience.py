"""How long tests wait for what has to come, and the one variable that makes all waits longer."""

import os
import time
from collections.abc import Callable

# TIMEOUT_SCALE=3 makes every wait three times as long, for a machine that is slow or busy.
SCALE = float(os.environ.get("TIMEOUT_SCALE", "1"))


def scaled(seconds: float) -> float:
    """A bound on an unburdened machine, as long as this machine needs."""
    return seconds * SCALE


# Far more than anything takes that the tests wait for.
PATIENCE = scaled(30.0)
START_SECONDS = scaled(60.0)
STOP_SECONDS = scaled(20.0)


def wait_until(condition: Callable[[], object], *, seconds: float = 30.0) -> bool:
    """Has the condition come true in (scaled) time?"""
    deadline = time.monotonic() + scaled(seconds)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
