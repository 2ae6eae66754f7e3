"""Logs channel-layer events that no socket can handle, in one line for all sockets."""

import logging
import time
from collections.abc import Mapping
from typing import Final

logger = logging.getLogger(__name__)

# The event types that consumers handle, with the types of their fields.
Fields = Mapping[str, type]
Events = Mapping[str, Fields]

# Seconds during which a fault is logged only once.
QUIET_SECONDS: Final = 60.0
_MAX_TOLD: Final = 1000
_told: Final[dict[str, float]] = {}


def fault_of(event: Mapping[str, object], known: Events) -> str | None:
    """The fault of an event; None if its handler can take it."""
    kind = event.get("type")
    if not isinstance(kind, str):
        return f"the type of an event must be a text, not {kind!r:.100}"
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
    """Log a fault once a minute for all sockets of this process."""
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
