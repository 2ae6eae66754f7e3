"""Limits connections to the file descriptors that the system grants the process."""

import logging
import resource
import socket
import time
from typing import Final

logger = logging.getLogger(__name__)

# Files reserved for the process itself: its connections to the database and to Redis.
RESERVE: Final = 64
# Seconds during which a reached limit is not logged again.
_QUIET_SECONDS: Final = 60.0


class FileLimit:
    """Tells whether there is room for a connection, and logs when there is not.

    At the very limit the event loop drops new connections silently, and queries to the database
    fail for want of a file.
    """

    def __init__(self) -> None:
        self._told_at = -_QUIET_SECONDS

    def is_reached(self, connection: socket.socket) -> bool:
        """The system assigns the lowest free number: a high one means that many are in use."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            return False
        reached = connection.fileno() >= limit - min(RESERVE, limit // 4)
        if reached:
            self._tell(limit)
        return reached

    def _tell(self, limit: int) -> None:
        now = time.monotonic()
        if now - self._told_at > _QUIET_SECONDS:
            logger.error(
                "connections are refused: this process may open %d files, and each connection is "
                "one. Raise the limit (LimitNOFILE= of systemd, ulimit -n), or start more workers.",
                limit,
            )
        self._told_at = now
