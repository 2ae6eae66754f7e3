"""Keeps the buffers of a slow client small: updates should wait where they can still be folded."""

import asyncio
import contextlib
import socket
from typing import Final

# Above this many bytes in the transport's buffer updates wait in the outbox, where they fold.
HIGH_WATER: Final = 32768
# Unsent bytes that the kernel may hold for one connection. Without this limit a stalled reader goes
# unnoticed behind megabytes of kernel buffer, all of it out of date when it is read at last.
UNSENT_BYTES: Final = 65536


def narrow(transport: asyncio.Transport) -> None:
    """Make a transport notice early that its peer does not read."""
    transport.set_write_buffer_limits(high=HIGH_WATER)
    raw = transport.get_extra_info("socket")
    lowat = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if raw is not None and lowat is not None:
        with contextlib.suppress(OSError):  # a unix socket has no such option
            raw.setsockopt(socket.IPPROTO_TCP, lowat, UNSENT_BYTES)
