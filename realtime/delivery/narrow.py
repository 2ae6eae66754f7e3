"""Little room for what a client does not read: it should wait where it still folds."""

import asyncio
import contextlib
import socket
from typing import Final

# Above this many bytes in the transport's buffer updates go to the outbox, where they fold.
HIGH_WATER: Final = 32768
# Bytes that the kernel may hold unsent for one connection before it says "full". Without it a
# stalled reader hides behind megabytes of kernel buffer, all of it stale when it is read at last.
UNSENT_BYTES: Final = 65536


def narrow(transport: asyncio.Transport) -> None:
    """Let a transport say early that its peer does not read."""
    transport.set_write_buffer_limits(high=HIGH_WATER)
    raw = transport.get_extra_info("socket")
    lowat = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if raw is not None and lowat is not None:
        with contextlib.suppress(OSError):  # a unix socket has no such option
            raw.setsockopt(socket.IPPROTO_TCP, lowat, UNSENT_BYTES)
