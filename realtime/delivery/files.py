"""Each connection is a file of the process, and the system gives it so many and no more."""

import logging
import resource
import socket
import time
from typing import Final

logger = logging.getLogger(__name__)

# Files that newcomers leave to the process itself: its database, its Redis.
RESERVE: Final = 64
# Seconds for which a limit that is reached is not told again.
_QUIET_SECONDS: Final = 60.0


class FileLimit:
    """Whether there is room for a connection; says in the log when there is none.

    At the very limit the event loop drops newcomers without a word, and a query finds no file.
    """

    def __init__(self) -> None:
        self._told_at = -_QUIET_SECONDS

    def is_reached(self, connection: socket.socket) -> bool:
        """The lowest free number is given out, so a high one means that many are in use."""
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
