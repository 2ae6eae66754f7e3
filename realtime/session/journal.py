"""A line in the log for each connection that begins and ends, with fields for formatters of JSON.

In a storm, such as all clients that come back at once, only some are written, and a line says how
many were not: thousands of lines would say no more, and would delay the clients.
"""

import asyncio
import logging
import time
from typing import Final, Protocol

from realtime.access.identity import Identity

logger = logging.getLogger("realtime.connections")

# Lines a second that a process writes of connections.
LINES_PER_SECOND: Final = 20


class _Connection(Protocol):
    connection_id: str
    connected_at: float
    close_code: int

    @property
    def endpoint(self) -> str: ...
    @property
    def identity(self) -> Identity: ...
    def client_address(self) -> str | None: ...


class Journal:
    """Writes lines, a limited number in each second."""

    def __init__(self) -> None:
        self._second = 0
        self._left = LINES_PER_SECOND
        self._suppressed = 0

    def opened(self, connection: _Connection) -> None:
        if self._may_write():
            fields = _fields(connection)
            logger.info("connected to %s", connection.endpoint, extra=fields)

    def closed(self, connection: _Connection) -> None:
        if self._may_write():
            duration = round(max(0.0, time.time() - connection.connected_at), 3)
            fields = _fields(connection) | {"code": connection.close_code, "duration": duration}
            logger.info(
                "disconnected from %s after %.1f s with %d",
                connection.endpoint, duration, connection.close_code, extra=fields,
            )  # fmt: skip

    def _may_write(self) -> bool:
        if not logger.isEnabledFor(logging.INFO):
            return False
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, LINES_PER_SECOND
        if self._left:
            self._left -= 1
            return True
        if not self._suppressed:
            asyncio.get_running_loop().call_later(1.0, self._tell_suppressed)
        self._suppressed += 1
        return False

    def _tell_suppressed(self) -> None:
        suppressed, self._suppressed = self._suppressed, 0
        fields = {"suppressed": suppressed}
        logger.info("%d more connections have begun or ended", suppressed, extra=fields)


def _fields(connection: _Connection) -> dict[str, object]:
    identity = connection.identity
    return {
        "connection_id": connection.connection_id,
        "channel": connection.endpoint,
        "user": identity.user.get_username() or None,
        "credential": identity.credential_id,
        "address": connection.client_address(),
    }


journal: Final = Journal()
