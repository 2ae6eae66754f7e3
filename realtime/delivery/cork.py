"""Joining what one turn of the event loop has for a socket into one write.

A burst of updates arrives in one read from Redis. Written one by one, each costs every socket a
system call; held back until the read is used up, they cost it one.
"""

import asyncio
import weakref
from typing import Protocol


class Corked(Protocol):
    """A socket with frames to write."""

    def flush(self) -> None: ...


class Cork:
    """While `active`, sockets collect their frames and add themselves to `sockets`, once each."""

    __slots__ = ("active", "sockets")

    def __init__(self) -> None:
        self.active = False
        self.sockets: list[Corked] = []

    def begin(self) -> None:
        """Hold frames back until this turn of the loop ends: as soon as anybody waits for I/O."""
        if not self.active:
            self.active = True
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self.active = False
        sockets, self.sockets = self.sockets, []
        for socket in sockets:
            socket.flush()


_corks: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Cork]" = weakref.WeakKeyDictionary()


def cork_of(loop: asyncio.AbstractEventLoop) -> Cork:
    """The cork of an event loop."""
    cork = _corks.get(loop)
    if cork is None:
        cork = _corks[loop] = Cork()
    return cork
