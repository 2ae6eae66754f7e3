"""How long tests wait, and the one variable that makes all waits longer."""

import os
import time
from collections.abc import Callable

# TIMEOUT_SCALE=3 makes every wait three times as long, for a machine that is slow or busy.
SCALE = float(os.environ.get("TIMEOUT_SCALE", "1"))


def scaled(seconds: float) -> float:
    """A time limit, scaled from an idle machine to this one."""
    return seconds * SCALE


# Far longer than any event takes for which tests wait.
PATIENCE = scaled(30.0)
START_SECONDS = scaled(60.0)
STOP_SECONDS = scaled(20.0)


def wait_until(condition: Callable[[], object], *, seconds: float = 30.0) -> bool:
    """Whether the condition came true within the (scaled) time."""
    deadline = time.monotonic() + scaled(seconds)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
