"""Events of the channel layer that no socket can handle: one line in the log for all of them."""

import logging
import time
from collections.abc import Mapping
from typing import Final

logger = logging.getLogger(__name__)

# The types that consumers know, and of what type the fields of each are.
Fields = Mapping[str, type]
Events = Mapping[str, Fields]

# Seconds in which the same fault is a line once.
QUIET_SECONDS: Final = 60.0
_MAX_TOLD: Final = 1000
_told: Final[dict[str, float]] = {}


def fault_of(event: Mapping[str, object], known: Events) -> str | None:
    """What is wrong with an event; None for one that its handler can take."""
    kind = event.get("type")
    if not isinstance(kind, str):
        return f"an event has a type, which is a text, not {kind!r:.100}"
    if kind not in known:
        return f"the type {kind!r:.100} is unknown; sockets know {', '.join(known)}"
    for name, expected in known[kind].items():
        if name not in event:
            return f"{kind}: the field {name} is missing"
        if not isinstance(event[name], expected):
            found = type(event[name]).__name__
            return f"{kind}: the field {name} must be {expected.__name__}, not {found}"
    return None


def report(fault: str) -> None:
    """A line in the log, once a minute for all sockets of this process."""
    now = time.monotonic()
    if now - _told.get(fault, -QUIET_SECONDS) < QUIET_SECONDS:
        return
    if len(_told) >= _MAX_TOLD:
        _told.clear()
    _told[fault] = now
    logger.error(
        "an event that was sent to sockets through the channel layer is ignored: %s "
        "(docs/how-to/publish.md, With group_send)",
        fault,
    )
